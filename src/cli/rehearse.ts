import { Exchange } from '../domain/exchange.js'
import { reject, type Rejection } from '../domain/rejection.js'
import type { CompiledPolicy } from '../policy/compile.js'
import type { Loaded } from '../server/load.js'
import type { Snapshot } from '../server/snapshot.js'
import { judge, judgeBody, type GateExchange } from '../server/stages.js'

const BODY_LIMIT_BYTES = 1_048_576

/**
 * Takes a request through the gate's own stages, as far as the decision: what `explain` shows as the refusal is what
 * the client would get. Who calls is given, from an address that its policy admits; limits are no part of it.
 *
 * @param body whole; empty: none
 * @param now epoch milliseconds
 * @returns the refusal; undefined when the call would go on to Okta
 */
export function rehearse (loaded: Loaded, policy: CompiledPolicy, method: string, target: string, body: Buffer, now: number): Rejection | undefined {
  const snapshot = snapshotOf(loaded, policy)
  const exchange: GateExchange = new Exchange(snapshot, '', now, 0, method, target, '')
  const headers = { host: 'narrowgate', ...body.length === 0 ? {} : { 'content-type': 'application/json', 'content-length': String(body.length) } }
  const request = { httpVersion: '1.1', headers, rawHeaders: Object.entries(headers).flat() }
  const refusal = judge(exchange, request, now)
  if (refusal instanceof Promise) throw new Error('a given caller was not known at once')
  if (refusal !== undefined) return refusal
  if (body.length > snapshot.bodyLimitBytes) return reject('body_too_large')
  return exchange.undecided ? judgeBody(exchange, request, body) : undefined
}

function snapshotOf ({ config, policies, hash }: Loaded, policy: CompiledPolicy): Snapshot {
  const credential = config?.upstreams.get(policy.upstream)?.credential
  return {
    hash,
    loadedAt: 0,
    catalog: policies!.catalog,
    clients: { identify: () => ({ id: policy.client, keyId: '', method: 'explain' }), allows: () => true },
    policies: policies!.clients,
    upstreams: new Map(),
    self: credential?.kind === 'serviceApp' ? { clientId: credential.clientId } : {},
    bodyLimitBytes: config?.listen.bodyLimitBytes ?? BODY_LIMIT_BYTES,
    bodyMemoryBytes: Infinity
  }
}
