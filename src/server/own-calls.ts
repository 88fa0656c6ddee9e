import type { Catalog } from '../okta/catalog.js'
import { parseObservation } from '../limits/headers.js'
import type { LimitStore } from '../limits/store.js'
import { CredentialFault, type CredentialProvider, type PresentedCredential } from '../upstream/credential.js'
import type { UpstreamLink, UpstreamRoad } from './upstreams.js'

/** What the limits and the audit call the gate where it calls for itself. */
export const GATE_CLIENT = '(narrowgate)'

const MAX_BYTES = 2_097_152
const TIMEOUT_MS = 10_000

/** What a read of the gate's own comes to. */
export interface OwnAnswer { readonly status: number, readonly json: unknown }

export interface OwnCallParts {
  readonly limits: LimitStore
  readonly catalog: Catalog
  readonly road: Pick<UpstreamRoad, 'plans'>
  readonly link: Pick<UpstreamLink, 'pool'>
  readonly steadyNow: () => number
  readonly now: () => number
}

/**
 * A GET that the gate makes for itself, with a credential of its own. It spends budget like any other call, and is
 * not made when there is none left.
 *
 * @param operation whose bucket it counts in
 * @returns undefined: it was not made, or brought no answer. Never rejects
 */
export async function ownCall (parts: OwnCallParts, operation: string, target: string, credential: CredentialProvider | PresentedCredential): Promise<OwnAnswer | undefined> {
  const { limits, catalog, road, steadyNow, now } = parts
  const known = catalog.byId(operation)
  const presented = 'get' in credential ? await credential.get() : credential
  if (known === undefined || presented instanceof CredentialFault) return undefined
  const admission = await limits.reserve({ plan: road.plans[known.index]!, credential: 'upstream', client: GATE_CLIENT, share: 1 }, steadyNow())
  if (admission.kind === 'refused') return undefined
  const { ticket } = admission
  try {
    const { statusCode, headers, body } = await parts.link.pool.request({ path: target, method: 'GET', headers: headersFor(presented, target), headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS })
    const text = (name: string): string | undefined => typeof headers[name] === 'string' ? headers[name] : undefined
    const at = steadyNow()
    limits.settle(ticket, parseObservation(statusCode, text('x-rate-limit-limit'), text('x-rate-limit-remaining'), text('x-rate-limit-reset'), at, now()), at)
    return { status: statusCode, json: await readJson(body) }
  } catch {
    return undefined
  } finally {
    limits.release(ticket, steadyNow())
  }
}

function headersFor ({ scheme, token, prove }: PresentedCredential, target: string): string[] {
  const headers = ['accept', 'application/json', 'user-agent', 'narrowgate', 'authorization', `${scheme} ${token.reveal()}`]
  return prove === undefined ? headers : [...headers, 'dpop', prove('GET', target.replace(/\?.*$/, ''))]
}

async function readJson (body: AsyncIterable<Buffer>): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > MAX_BYTES) return undefined
    chunks.push(chunk)
  }
  try { return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown } catch { return undefined }
}
