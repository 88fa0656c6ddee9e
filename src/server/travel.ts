import type { IncomingMessage, ServerResponse } from 'node:http'
import { isRejection, reject, unreachable, type Rejection, type RejectionCode } from '../domain/rejection.js'
import { parseObservation } from '../limits/headers.js'
import type { Admission, RefusedBy, Ticket } from '../limits/store.js'
import { bodyTouchesGate } from '../okta/self.js'
import { leafPaths } from '../policy/body-path.js'
import type { CompiledPolicy } from '../policy/compile.js'
import { parseStrictJson } from '../policy/json.js'
import { isAuthn } from '../policy/shape.js'
import { forward } from '../upstream/forward.js'
import { forwardedHeaders } from '../upstream/headers.js'
import type { AnswerFacts, ForwardHooks, ForwardResult } from '../upstream/result.js'
import { BodyMemory, declaresBody, NO_BODY, readBody } from './body.js'
import { proofUsed } from '../clients/callers.js'
import { intend, recordEvent } from './record.js'
import { paceOf, refuse } from './refuse.js'
import type { Road } from './road.js'
import { signInName } from './sign-in.js'
import { bodyHoldsKey, judgeBody, type GateExchange } from './stages.js'

/** Most leaf paths of a body that an event of an observed client carries. */
const MAX_BODY_PATHS = 100

const REFUSALS: Readonly<Record<RefusedBy, RejectionCode>> = {
  bucket: 'rate_limit', share: 'client_share', rule: 'rule_limit', concurrency: 'concurrency', closed: 'bucket_closed', user: 'user_limit', store: 'limits_unavailable'
}

/**
 * The second half of the road, for a request that may go on: body → decide → admit → forward → observe → record.
 * Ends with the answer written and the event recorded.
 */
export async function travel (road: Road, exchange: GateExchange, request: IncomingMessage, response: ServerResponse): Promise<void> {
  exchange.stage = 'body'
  const reading = declaresBody(request) ? readBody(request, response, exchange.snapshot.bodyLimitBytes, new BodyMemory(road.bodies, exchange.client!.id, exchange.snapshot.bodyMemoryBytes), paceOf(road, exchange)) : NO_BODY
  let unsent: (() => void) | undefined
  let refusal = takeBody(exchange, request, reading instanceof Promise ? await reading : reading) ?? lacksScope(exchange)
  const patience = patienceOf(road, exchange, response)
  const caller = callerOf(exchange.policy!, exchange.client!.id)
  let placed = false
  // One pass; a second when a complete answer has proved that Okta refused before it executed anything. It spends budget.
  try {
    for (let again = refusal === undefined && !exchange.aborted; again;) {
      exchange.stage = 'admit'
      const asked = reserve(road, exchange, patience)
      const admission = asked instanceof Promise ? await asked : asked
      const ticket = admitted(road, exchange, admission, response)
      if (ticket === undefined || isRejection(ticket)) { refusal = ticket; break }
      placed ||= takesPlace(road, exchange, caller)
      if (!placed) {
        road.limits.cancel(ticket, road.steadyNow())
        placed = patience.untilMs !== undefined && await road.calls.wait(caller, { untilMs: patience.untilMs, left: () => response.destroyed })
        // With its place it asks for allowance once more: what it had is not held while it waits.
        if (placed) continue
        if (response.destroyed) exchange.aborted = true
        else refusal = reject('concurrency', { causes: ['this client has its share of the calls in flight'] })
        break
      }
      if (exchange.proof !== undefined) {
        refusal = await consumeProof(road, exchange)
        if (refusal !== undefined) { road.limits.cancel(ticket, road.steadyNow()); break }
      }
      try {
        exchange.stage = 'forward'
        // A write is on record before it is made: what the gate can't remember, it does not do.
        const kept = exchange.method === 'GET' || exchange.resent ? undefined : intend(road, exchange)
        if (kept !== undefined) {
          if (!await kept) refusal = reject('audit_unavailable', { detail: 'the intent is not on the disk' })
          else if (response.destroyed) exchange.aborted = true
          if (refusal !== undefined || exchange.aborted) { road.limits.cancel(ticket, road.steadyNow()); break }
        }
        const result = await send(road, exchange, ticket, request, response)
        exchange.stage = 'observe'
        settle(road, exchange, ticket, result)
        again = result.kind === 'credential_refused' && mayCallAgain(exchange, result)
        refusal = again ? undefined : conclude(exchange, result, response)
        if (result.kind === 'answered') unsent = result.send
        if (again) exchange.resent = true
      } finally {
        placed = false
        road.calls.giveBack(caller)
      }
    }
  } finally {
    if (placed) road.calls.giveBack(caller)
  }
  if (refusal !== undefined && !exchange.aborted) { refuse(road, exchange, request, response, refusal); return }
  exchange.rejection = refusal
  recordEvent(road, exchange)
  if (unsent !== undefined) road.outbox.push(unsent)
}

/** The body has arrived: judged where it decides. */
function takeBody (exchange: GateExchange, request: IncomingMessage, body: Awaited<ReturnType<typeof readBody>>): Rejection | undefined {
  if (isRejection(body)) return body
  if ('kind' in body) { exchange.aborted = true; return undefined }
  exchange.body = body
  exchange.bytesIn = body.length
  const stray = bodyHoldsKey(body)
  if (stray !== undefined) return stray
  const touched = bodyTouchesGate(exchange.operation!, body, request.headers, exchange.snapshot.self)
  if (touched !== undefined) return reject('self_protection', { causes: [touched] })
  const refusal = exchange.undecided ? judgeBody(exchange, request, body) : undefined
  if (exchange.policy!.mode === 'observe' || exchange.wouldDeny !== undefined) noteBodyPaths(exchange, request)
  return refusal
}

/** Okta has refused the gate a scope that this call needs: it could only fail there. */
function lacksScope ({ snapshot, policy, rule, operation }: GateExchange): Rejection | undefined {
  if (rule?.credential !== 'upstream') return undefined
  const scope = snapshot.upstreams.get(policy!.upstream)!.missingScope(operation!)
  return scope === undefined ? undefined : reject('credential_unavailable', { causes: [`rule ${rule.id} needs the scope ${scope}, which Okta refuses to the gate`] })
}

/** The ticket of an admitted call; a refusal; undefined when the client has left meanwhile. */
function admitted (road: Road, exchange: GateExchange, admission: Admission, response: ServerResponse): Ticket | Rejection | undefined {
  if (!response.destroyed) return admission.kind === 'admitted' ? admission.ticket : limited(road, admission)
  if (admission.kind === 'admitted') road.limits.cancel(admission.ticket, road.steadyNow())
  exchange.aborted = true
  return undefined
}

/** Under what a client's calls in flight are counted: the same text for the same policy. */
const callers = new WeakMap<CompiledPolicy, string>()

function callerOf (policy: CompiledPolicy, client: string): string {
  let caller = callers.get(policy)
  if (caller === undefined) callers.set(policy, caller = `${policy.upstream} ${client}`)
  return caller
}

/** A client whose calls hang, or who reads slowly, leaves slots to the others. */
function takesPlace (road: Road, { snapshot, policy }: GateExchange, caller: string): boolean {
  return road.calls.take(caller, snapshot.upstreams.get(policy!.upstream)!.callsPerClient)
}

/** How long a call may wait for its turn, and whether its client has left meanwhile. */
class Patience {
  readonly #response: ServerResponse

  /** @param untilMs on the limits' clock; absent: it does not wait */
  constructor (response: ServerResponse, readonly untilMs: number | undefined) {
    this.#response = response
  }

  get aborted (): boolean { return this.#response.destroyed }
}

function patienceOf (road: Road, { rule, policy }: GateExchange, response: ServerResponse): Patience {
  const waitMs = rule?.waitMs ?? policy!.waitMs
  return new Patience(response, waitMs === undefined ? undefined : road.steadyNow() + waitMs)
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
    case 'unknown': return reject('replay_unknown')
    default: return unreachable(use)
  }
}

function reserve (road: Road, exchange: GateExchange, patience: Patience): Admission | Promise<Admission> {
  const { snapshot, policy, rule, operation } = exchange
  const now = road.steadyNow()
  return road.limits.reserve({
    plan: snapshot.upstreams.get(policy!.upstream)!.plans[operation!.index]!,
    credential: rule!.credential,
    client: policy!.client,
    share: policy!.share,
    rule: rule!.limitPerMinute === undefined ? undefined : { id: rule!.id, perMinute: rule!.limitPerMinute },
    floor: policy!.reserve === 0 ? undefined : policy!.reserve,
    level: policy!.level,
    user: signInName(exchange),
    waitMs: patience.untilMs === undefined ? undefined : Math.max(0, patience.untilMs - now),
    signal: patience
  }, now)
}

function send (road: Road, exchange: GateExchange, ticket: Ticket, request: IncomingMessage, response: ServerResponse): Promise<ForwardResult> {
  const upstream = exchange.snapshot.upstreams.get(exchange.policy!.upstream)!
  const authn = isAuthn(exchange.operation!)
  return forward({
    dispatch: upstream.dispatch,
    method: exchange.operation!.method,
    target: exchange.target!,
    headers: forwardedHeaders(request.rawHeaders, authn),
    body: exchange.body!.length === 0 ? null : exchange.body!,
    credential: exchange.rule!.credential,
    rewrites: upstream.rewrites,
    rewriteBody: authn ? upstream.rewriteHrefs : undefined,
    hold: true,
    timeouts: upstream.timeouts,
    breaker: upstream.breaker,
    clock: road.clock
  }, response, new Progress(road, exchange, ticket, response))
}

/** What is noted of a call while it is under way. */
class Progress implements ForwardHooks {
  readonly #road: Road
  readonly #exchange: GateExchange
  readonly #ticket: Ticket
  readonly #response: ServerResponse
  #sentAt = 0
  #headersAt = 0

  constructor (road: Road, exchange: GateExchange, ticket: Ticket, response: ServerResponse) {
    this.#road = road
    this.#exchange = exchange
    this.#ticket = ticket
    this.#response = response
  }

  onSent (): void { this.#exchange.sentClock = this.#sentAt = this.#road.clock() }

  onHeaders ({ status, rate }: AnswerFacts): void {
    const road = this.#road
    this.#headersAt = road.clock()
    // The last answer on this connection says so, instead of a close that meets the client's next request.
    if (road.draining()) this.#response.shouldKeepAlive = false
    const now = road.steadyNow()
    road.limits.settle(this.#ticket, parseObservation(status, rate.limit, rate.remaining, rate.reset, now, road.now()), now)
  }

  onAnswer (): void {
    this.#exchange.gateMs = (this.#sentAt - this.#exchange.clock) + (this.#road.clock() - this.#headersAt)
  }
}

/** The call is over: its budgets are settled, and what is known of it stands in the exchange. */
function settle ({ limits, steadyNow, clock }: Road, exchange: GateExchange, ticket: Ticket, result: ForwardResult): void {
  exchange.endClock = clock()
  if (result.sent) limits.release(ticket, steadyNow())
  else limits.cancel(ticket, steadyNow())
  if (result.resent) exchange.resent = true
  exchange.upstreamStatus = result.status
  exchange.oktaRequestId = result.oktaRequestId
  exchange.upstreamMs = result.upstreamMs
  exchange.bytesOut = result.bytesOut
}

/** Okta refused the gate's credential: one more call makes sense when the provider has another one. */
function mayCallAgain (exchange: GateExchange, result: ForwardResult): boolean {
  const { credentials } = exchange.snapshot.upstreams.get(exchange.policy!.upstream)!
  const provider = exchange.rule!.credential === 'authnToken' ? credentials.authnToken : credentials.upstream
  const renewed = result.generation !== undefined && provider?.invalidate(result.generation, result.kind === 'credential_refused' ? result.nonce : undefined) === true
  return renewed && !exchange.resent
}

/** What a finished call comes to: undefined when its answer has gone out or nobody waits for one. */
function conclude (exchange: GateExchange, result: ForwardResult, response: ServerResponse): Rejection | undefined {
  switch (result.kind) {
    case 'answered': return answered(exchange, result, response)
    case 'aborted': return aborted(exchange, result)
    case 'credential_refused': return reject('upstream_credential')
    case 'failed': return failed(result)
    default: return unreachable(result)
  }
}

/** Nobody is there to be told; of a write that got no answer the event says that it may have been executed. */
function aborted (exchange: GateExchange, result: ForwardResult & { kind: 'aborted' }): Rejection | undefined {
  exchange.aborted = true
  exchange.detail = result.failure?.cause
  return result.sent && result.status === undefined && exchange.method !== 'GET' ? reject('upstream_uncertain') : undefined
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

/** As the rules would judge it, so that what is learned from the event admits the same call when enforced. */
function noteBodyPaths (exchange: GateExchange, request: IncomingMessage): void {
  const { 'content-type': type, 'content-encoding': coding } = request.headers
  const judged = exchange.judgedBody ?? parseStrictJson(exchange.body!, type, coding)
  if (judged.kind === 'json') exchange.bodyPaths = leafPaths(judged.value, MAX_BODY_PATHS)
}
