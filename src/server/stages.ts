import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { holdsClientKey, type Client, type PendingProof } from '../domain/client.js'
import type { Decision } from '../domain/decision.js'
import type { Exchange } from '../domain/exchange.js'
import { isRejection, reject, unreachable, type Rejection } from '../domain/rejection.js'
import { parseTarget, type Target } from '../domain/target.js'
import { touchesGate } from '../okta/self.js'
import type { CompiledPolicy } from '../policy/compile.js'
import { decide } from '../policy/decide.js'
import { shortExplanation } from '../policy/explain.js'
import { parseStrictJson } from '../policy/json.js'
import { checkRequestHeaders, forwardsClientKey } from '../upstream/headers.js'
import { PresentedCall } from './presented.js'
import type { Snapshot } from './snapshot.js'

/** An exchange as the server's stages see it. */
export type GateExchange = Exchange<Snapshot, CompiledPolicy>

/** What the stages need of the raw request. */
export type RawRequest = Pick<IncomingMessage, 'rawHeaders' | 'headers' | 'httpVersion'> & { readonly socket?: Socket }

/**
 * target → identify → operation → decide: everything that can be said before the body has arrived.
 *
 * @returns the refusal, or undefined when the request may go on (`exchange.undecided` tells that the body decides);
 *   a promise of it when a signature has to be checked first
 */
export function judge (exchange: GateExchange, request: RawRequest, now: number): Rejection | undefined | Promise<Rejection | undefined> {
  return readTarget(exchange, request) ?? judgeCall(exchange, request, now)
}

/** identify → operation → decide, once the target is read. */
export function judgeCall (exchange: GateExchange, request: RawRequest, now: number): Rejection | undefined | Promise<Rejection | undefined> {
  exchange.stage = 'identify'
  const who = exchange.snapshot.clients.identify(new PresentedCall(exchange, request), now)
  if (who instanceof Promise) return who.then(identified => isRejection(identified) ? unknown(exchange, identified) : judgeKnown(exchange, request, identified.client, identified.proof, now))
  return isRejection(who) ? unknown(exchange, who) : judgeKnown(exchange, request, who, undefined, now)
}

/** Whose key has ended is known all the same: the event says so. */
function unknown (exchange: GateExchange, rejection: Rejection): Rejection {
  exchange.client = rejection.presenter
  return rejection
}

function judgeKnown (exchange: GateExchange, request: RawRequest, client: Client, proof: PendingProof | undefined, now: number): Rejection | undefined {
  exchange.proof = proof
  return admitClient(exchange, client, now) ?? strayKey(exchange, request) ?? operation(exchange) ?? decision(exchange)
}

const STRAY = 'a client key stands in it: send it in Authorization alone, and rotate this one'

/** A key of this gate is not Okta's to see, nor that of the logs on the way there. */
function strayKey ({ target }: GateExchange, request: RawRequest): Rejection | undefined {
  if (targetHoldsKey(target!)) return reject('bad_target', { causes: [STRAY] })
  return forwardsClientKey(request.rawHeaders) ? reject('bad_header', { causes: [STRAY] }) : undefined
}

function targetHoldsKey ({ raw, query }: Target): boolean {
  return holdsClientKey(raw) || (raw.includes('%') && query.some(({ name, value }) => holdsClientKey(name) || holdsClientKey(value)))
}

/** The same for a body, as it stands. */
export function bodyHoldsKey (body: Buffer): Rejection | undefined {
  return body.includes('ngk_') && holdsClientKey(body.toString('latin1')) ? reject('bad_body', { causes: [STRAY] }) : undefined
}

/** The target stage alone. */
export function readTarget (exchange: GateExchange, request: RawRequest): Rejection | undefined {
  exchange.stage = 'target'
  // llhttp takes 0.9 and 2.0 on a request line of HTTP/1's form, too: nobody knows what frames such a message.
  if (request.httpVersion !== '1.1' && request.httpVersion !== '1.0') return reject('bad_request', { causes: ['the version is neither HTTP/1.1 nor HTTP/1.0'] })
  // RFC 9112 section 6.1: HTTP/1.0 has no such framing, and a proxy of that age passes it on unread.
  if (request.httpVersion === '1.0' && request.headers['transfer-encoding'] !== undefined) return reject('bad_framing', { causes: ['HTTP/1.0 has no Transfer-Encoding'] })
  const bad = checkRequestHeaders(request.rawHeaders, exchange.method)
  if (bad !== undefined) return bad
  if (request.headers.host === undefined && request.httpVersion !== '1.0') return reject('bad_header', { causes: ['there is no Host header'] })
  const parsed = parseTarget(exchange.rawTarget, exchange.snapshot.catalog.slashAliases)
  if (isRejection(parsed)) return parsed
  exchange.target = parsed
  return undefined
}

function admitClient (exchange: GateExchange, client: Client, now: number): Rejection | undefined {
  const { snapshot, source } = exchange
  exchange.client = client
  const policy = snapshot.policies.get(client.id)
  if (policy === undefined) return reject('bad_credential', { detail: 'the client has no policy' })
  exchange.policy = policy
  if (policy.expiresAt !== undefined && now >= policy.expiresAt) return reject('policy_expired')
  if (!snapshot.clients.allows(client, source)) return reject('network', { detail: 'a valid key of this client came from outside its networks' })
  return undefined
}

function operation (exchange: GateExchange): Rejection | undefined {
  exchange.stage = 'operation'
  const { snapshot, target, method } = exchange
  const resolution = snapshot.catalog.resolve(method, target!)
  const touched = touchesGate(target!, resolution, snapshot.self)
  if (touched !== undefined) return reject('self_protection', { causes: [touched] })
  switch (resolution.kind) {
    case 'unknown_path': return reject('unknown_path')
    case 'unknown_method': return reject('method_not_allowed', { allow: resolution.allowed })
    case 'operation':
      if (resolution.operation.reserved) return reject('unknown_path', { causes: ['this endpoint is kept for the gate itself'] })
      exchange.operation = resolution.operation
      exchange.parameters = resolution.parameters
      exchange.alias = resolution.alias
      return undefined
    default: return unreachable(resolution)
  }
}

/** Takes a decision; again with the body when the first answer was `undecided`. */
function decision (exchange: GateExchange): Rejection | undefined {
  exchange.stage = 'decide'
  const result = decide(exchange.policy!, {
    operation: exchange.operation!,
    parameters: exchange.parameters!,
    alias: exchange.alias,
    query: exchange.target!.query,
    body: exchange.judgedBody
  })
  switch (result.effect) {
    case 'allow':
      exchange.rule = result.rule
      exchange.wouldDeny = result.wouldDeny
      exchange.undecided = false
      return undefined
    case 'deny':
      exchange.rule = result.rule
      return reject(result.reason === 'expired' ? 'policy_expired' : result.reason, { causes: causesOf(exchange, result) })
    case 'undecided':
      exchange.undecided = true
      return undefined
    default: return unreachable(result)
  }
}

/** What the developer of the client reads: which operation it was, and which rule and condition was missing. */
function causesOf ({ policy, operation }: GateExchange, decision: Decision & { effect: 'deny' }): string[] {
  const { id, method, template } = operation!
  return [`client "${policy!.client}", operation ${id} (${method} ${template}): ${decision.reason === 'deny' ? 'denied' : decision.attempts.length === 0 ? 'no rule names this operation' : 'no rule fits'}`, ...shortExplanation(decision)]
}

/**
 * decide, for calls whose body decides: parses it strictly and asks again. What a rule can't judge is refused.
 *
 * @param body whole, as received
 */
export function judgeBody (exchange: GateExchange, request: RawRequest, body: Buffer): Rejection | undefined {
  exchange.stage = 'body'
  const judged = parseStrictJson(body, request.headers['content-type'], request.headers['content-encoding'])
  exchange.judgedBody = judged
  const refusal = decision(exchange)
  if (refusal?.code === 'body' && judged.kind === 'unjudgeable') return reject(judged.code, { causes: [judged.why] })
  if (refusal === undefined && exchange.undecided) throw new Error('a decision stayed undecided with the body at hand')
  return refusal
}
