import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Method } from '../domain/operation.js'
import { isRejection, reject, unreachable, type Rejection, type RejectionCode } from '../domain/rejection.js'
import { parseObservation } from '../limits/headers.js'
import type { Admission, RefusedBy, Ticket } from '../limits/store.js'
import { leafPaths } from '../policy/body-path.js'
import { isAuthn } from '../policy/shape.js'
import { forward } from '../upstream/forward.js'
import { forwardedHeaders } from '../upstream/headers.js'
import type { ForwardResult } from '../upstream/result.js'
import { writeRejection } from './answer.js'
import { readBody } from './body.js'
import { proofUsed } from '../clients/callers.js'
import { recordEvent } from './record.js'
import type { Road } from './road.js'
import { judgeBody, type GateExchange } from './stages.js'
import type { UpstreamRoad } from './upstreams.js'

/** Most leaf paths of a body that an event of an observed client carries. */
const MAX_BODY_PATHS = 100

const REFUSALS: Readonly<Record<RefusedBy, RejectionCode>> = {
  bucket: 'rate_limit', share: 'client_share', rule: 'rule_limit', concurrency: 'concurrency', closed: 'bucket_closed'
}

/**
 * The second half of the road, for a request that may go on: body → decide → admit → forward → observe → record.
 * Ends with the answer written and the event recorded.
 */
export async function travel (road: Road, exchange: GateExchange, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const refusal = await carry(road, exchange, request, response)
  if (refusal !== undefined) {
    exchange.rejection = refusal
    if (!exchange.aborted) {
      exchange.bytesOut = writeRejection(request, response, refusal, exchange.id, road.now())
      exchange.status = response.statusCode
    }
  }
  recordEvent(road, exchange)
}

async function carry (road: Road, exchange: GateExchange, request: IncomingMessage, response: ServerResponse): Promise<Rejection | undefined> {
  exchange.stage = 'body'
  const reading = readBody(request, exchange.snapshot.bodyLimitBytes)
  const body = reading instanceof Promise ? await reading : reading
  if (isRejection(body)) return body
  if ('kind' in body) return left(exchange)
  exchange.body = body
  exchange.bytesIn = body.length
  if (exchange.undecided) {
    const refusal = judgeBody(exchange, request, body)
    if (refusal !== undefined) return refusal
  }
  if (exchange.policy!.mode === 'observe' || exchange.wouldDeny !== undefined) noteBodyPaths(exchange, request)

  const first = await attempt(road, exchange, request, response)
  if (first !== 'again') return first
  // A complete answer has proved that Okta refused before it executed anything: the one other resend, which spends budget.
  exchange.resent = true
  const second = await attempt(road, exchange, request, response)
  return second === 'again' ? reject('upstream_credential') : second
}

/** One admitted call. 'again': Okta refused the credential and the provider has another one. */
async function attempt (road: Road, exchange: GateExchange, request: IncomingMessage, response: ServerResponse): Promise<Rejection | undefined | 'again'> {
  const upstream = exchange.snapshot.upstreams.get(exchange.policy!.upstream)
  if (upstream === undefined) return reject('credential_unavailable', { detail: 'the upstream of this policy is not configured' })
  exchange.stage = 'admit'
  const asked = reserve(road, exchange, upstream, response)
  const admission = asked instanceof Promise ? await asked : asked
  if (admission.kind === 'refused') return response.destroyed ? left(exchange) : limited(road, admission)
  if (response.destroyed) { road.limits.cancel(admission.ticket, road.steadyNow()); return left(exchange) }

  if (exchange.proof !== undefined) {
    const used = await consumeProof(road, exchange)
    if (used !== undefined || response.destroyed) { road.limits.cancel(admission.ticket, road.steadyNow()); return used ?? left(exchange) }
  }

  exchange.stage = 'forward'
  const result = await send(road, exchange, upstream, admission.ticket, request, response)
  exchange.stage = 'observe'
  note(exchange, result)
  switch (result.kind) {
    case 'answered': return answered(exchange, result, response)
    case 'aborted': exchange.aborted = true; exchange.detail = result.failure?.cause; return undefined
    case 'credential_refused': {
      const provider = exchange.rule!.credential === 'authnToken' ? upstream.credentials.authnToken : upstream.credentials.upstream
      return !exchange.resent && result.generation !== undefined && provider?.invalidate(result.generation) === true
        ? 'again'
        : reject('upstream_credential')
    }
    case 'failed': return failed(result)
    default: return unreachable(result)
  }
}

/** Tells a call that waits for its turn that its client has left. */
class Departure {
  readonly #response: ServerResponse

  constructor (response: ServerResponse) {
    this.#response = response
  }

  get aborted (): boolean { return this.#response.destroyed }
}

/** Once per request, after the limits have admitted it: Okta's Node SDK sends the same proof again after a 429. */
async function consumeProof (road: Road, exchange: GateExchange): Promise<Rejection | undefined> {
  const { value, untilMs } = exchange.proof!
  exchange.proof = undefined
  const use = await road.seen.use(exchange.client!.id, value, untilMs, exchange.time)
  switch (use) {
    case 'first': return undefined
    case 'again': return proofUsed()
    case 'full': return reject('overloaded', { detail: 'no more DPoP proofs of this client can be remembered' })
    default: return unreachable(use)
  }
}

function reserve (road: Road, exchange: GateExchange, upstream: UpstreamRoad, response: ServerResponse): Admission | Promise<Admission> {
  const { policy, rule, operation } = exchange
  return road.limits.reserve({
    plan: upstream.plans[operation!.index]!,
    credential: rule!.credential,
    client: policy!.client,
    share: policy!.share,
    rule: rule!.limitPerMinute === undefined ? undefined : { id: rule!.id, perMinute: rule!.limitPerMinute },
    signal: new Departure(response)
  }, road.steadyNow())
}

async function send (road: Road, exchange: GateExchange, upstream: UpstreamRoad, ticket: Ticket, request: IncomingMessage, response: ServerResponse): Promise<ForwardResult> {
  const { limits } = road
  const authn = isAuthn(exchange.operation!)
  let sentAt = 0
  let headersAt = 0
  const result = await forward({
    dispatch: upstream.dispatch,
    method: exchange.operation!.method satisfies Method,
    target: exchange.target!,
    headers: forwardedHeaders(request.rawHeaders, authn),
    body: exchange.body!.length === 0 ? null : exchange.body!,
    credential: exchange.rule!.credential,
    rewrites: upstream.rewrites,
    rewriteBody: authn ? upstream.rewriteHrefs : undefined,
    timeouts: upstream.timeouts,
    clock: road.clock
  }, response, {
    onSent: () => { sentAt = road.clock() },
    onHeaders: ({ status, rate }) => {
      headersAt = road.clock()
      const now = road.steadyNow()
      limits.settle(ticket, parseObservation(status, rate.limit, rate.remaining, rate.reset, now, road.now()), now)
    },
    onAnswer: () => { exchange.gateMs = (sentAt - exchange.clock) + (road.clock() - headersAt) }
  })
  const now = road.steadyNow()
  if (result.sent) limits.release(ticket, now)
  else limits.cancel(ticket, now)
  return result
}

function note (exchange: GateExchange, result: ForwardResult): void {
  if (result.resent) exchange.resent = true
  exchange.upstreamStatus = result.status
  exchange.oktaRequestId = result.oktaRequestId
  exchange.upstreamMs = result.upstreamMs
  exchange.bytesOut = result.bytesOut
}

function answered (exchange: GateExchange, result: ForwardResult & { kind: 'answered' }, response: ServerResponse): undefined {
  exchange.status = response.statusCode
  exchange.truncated = result.truncated
  exchange.detail = result.failure?.cause
  return undefined
}

function failed ({ failure, credential, mayHaveHappened, sent }: ForwardResult & { kind: 'failed' }): Rejection {
  const detail = failure.cause
  if (credential !== undefined) return reject(credential.reason === 'exception_expired' ? 'exception_expired' : 'credential_unavailable', { detail: credential.message })
  if (mayHaveHappened) return reject('upstream_uncertain', { detail })
  if (!sent) return reject('upstream_unreachable', { detail })
  if (failure.code === 'timeout') return reject('upstream_timeout', { detail })
  return reject('upstream_failed', { detail })
}

/** The limits speak of a clock that does not jump; the client is told in wall-clock time. */
function limited (road: Road, { by, wait }: Extract<Admission, { kind: 'refused' }>): Rejection {
  const untilMs = road.now() + (wait.untilMs - road.steadyNow())
  return reject(REFUSALS[by], { wait: { ...wait, untilMs } })
}

/** The client went away before anything was sent for it. */
function left (exchange: GateExchange): undefined {
  exchange.aborted = true
  return undefined
}

function noteBodyPaths (exchange: GateExchange, request: IncomingMessage): void {
  const { body } = exchange
  if (body === undefined || body.length === 0 || !/json/.test(request.headers['content-type'] ?? '')) return
  try {
    exchange.bodyPaths = leafPaths(JSON.parse(body.toString('utf8')), MAX_BODY_PATHS)
  } catch { /* no rule looks at it, so it need not be JSON */ }
}
