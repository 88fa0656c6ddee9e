import type { CredentialKind } from '../domain/decision.js'
import { unreachable } from '../domain/rejection.js'
import { allowance, clientAllowance, learnOrg, orgLimit, orgSource } from './allowance.js'
import { floorOf, Floors, Turns } from './claims.js'
import { RESET_HORIZON_MS, type Observation } from './headers.js'
import { LOW } from './leases.js'
import { Narrowed, type Loss, type Seen } from './narrow.js'
import { ProbeQueue } from './probe.js'
import { Remaining, RESET_GUARD_MS } from './remaining.js'
import type { BucketPlan, BucketView, LimitCall, Refused, RefusedBy } from './store.js'
import { GUARD_MS, SlidingWindow } from './window.js'

/** How soon to come back when nothing says more. */
const SOON_MS = 1000

// Reserving adds at most one client; looking at two more makes the sweep overtake the growth.
const SWEEP_STEP = 2

/** One client's use of one bucket, and of those of its rules that have a limit. */
export interface ClientState {
  readonly client: string
  readonly window: SlidingWindow
  rules?: Map<string, SlidingWindow>
}

/** Makes a refusal whose wait keeps the contract of `Refused`. */
export function refuse (by: RefusedBy, untilMs: number | undefined, limit: number, now: number): Refused {
  const latest = by === 'closed' ? Infinity : now + RESET_HORIZON_MS
  return { kind: 'refused', by, wait: { untilMs: Math.min(latest, Math.max(now + 1, untilMs ?? now + SOON_MS)), limit, remaining: 0 } }
}

/** All that is known of one bucket of one upstream. */
export class BucketState {
  /** the latest seen, which judges waiting calls too: a reload brings new ones */
  plan: BucketPlan
  readonly window = new SlidingWindow()
  readonly queue = new ProbeQueue()
  /** the one call in flight whose answer is awaited before a credential's others may go */
  probe: object | undefined
  readonly #none = new Remaining()
  readonly #upstream = new Remaining()
  readonly #authnToken = new Remaining()
  readonly #clients = new Map<string, ClientState>()
  readonly #list: ClientState[] = []
  #floors: Floors | undefined
  #turns: Turns | undefined
  #narrowed: Narrowed | undefined
  #cursor = 0
  #learnedOrg: number | undefined
  #closedUntilMs = 0
  #closedAnonymousUntilMs = 0
  #nonsense = 0
  #tooMany = 0

  constructor (plan: BucketPlan) {
    this.plan = plan
  }

  remaining (credential: CredentialKind): Remaining {
    switch (credential) {
      case 'upstream': return this.#upstream
      case 'none': return this.#none
      case 'authnToken': return this.#authnToken
      default: return unreachable(credential)
    }
  }

  /** What refuses a call at `now`: the bucket, the client's share of it, or its rule. Changes nothing. */
  refusal (call: LimitCall, now: number): Refused | undefined {
    const { credential, rule } = call
    const remaining = this.remaining(credential)
    const whole = allowance(this.plan, this.#learnedOrg, remaining.headerLimit(now))
    const narrowed = this.#narrowed
    const allowed = narrowed === undefined ? whole : narrowed.allowed(whole, now)
    const closedUntilMs = credential === 'none' ? this.#closedAnonymousUntilMs : this.#closedUntilMs
    if (now < closedUntilMs) return refuse('closed', closedUntilMs, allowed, now)
    if (isFull(this.window, allowed, now)) return refuse('bucket', untilFree(this.window, allowed, now), allowed, now)
    if (narrowed !== undefined && narrowed.left(now) <= 0) return refuse('bucket', narrowed.untilMs, allowed, now)
    const kept = this.#kept(call, allowed, now)
    if (kept > 0 && isFull(this.window, allowed - kept, now)) return refuse('bucket', untilFree(this.window, allowed - kept, now), allowed, now)
    if (remaining.left(now) <= 0) return refuse('bucket', remaining.liftedAt, allowed, now)
    const part = clientAllowance(call.share, allowed)
    const client = this.#clients.get(call.client)
    if (isFull(client?.window, part, now)) return refuse('share', untilFree(client?.window, part, now), part, now)
    if (rule === undefined) return undefined
    const counted = client?.rules?.get(rule.id)
    const perMinute = narrowed === undefined ? rule.perMinute : Math.floor(rule.perMinute / narrowed.loss.replicas)
    return isFull(counted, perMinute, now) ? refuse('rule', untilFree(counted, perMinute, now), perMinute, now) : undefined
  }

  /**
   * How many more calls like this one the tightest of its budgets has slots for; 0 where that can't be told, or where it
   * matters whose turn it is: no answer yet, a floor or priorities in play, a store that is lost.
   */
  room (call: LimitCall, now: number): number {
    const { credential, rule } = call
    const remaining = this.remaining(credential)
    if (!remaining.learned || this.#narrowed !== undefined || this.#floors !== undefined || this.#turns !== undefined || call.floor !== undefined) return 0
    if (now < (credential === 'none' ? this.#closedAnonymousUntilMs : this.#closedUntilMs)) return 0
    const allowed = allowance(this.plan, this.#learnedOrg, remaining.headerLimit(now))
    const client = this.#clients.get(call.client)
    const share = clientAllowance(call.share, allowed) - (client?.window.used(now) ?? 0)
    if (remaining.left(now) < LOW) return 0
    const ruled = rule === undefined ? Infinity : rule.perMinute - (client?.rules?.get(rule.id)?.used(now) ?? 0)
    return Math.max(0, Math.min(allowed - this.window.used(now), remaining.left(now), share, ruled))
  }

  /** Slots that this call leaves to others: floors that are not used up, and calls of higher priority that were refused. */
  #kept (call: LimitCall, allowed: number, now: number): number {
    const floor = floorOf(call.floor, allowed)
    if (floor > 0) (this.#floors ??= new Floors()).ask(call.client, call.floor!, now)
    if (this.#floors === undefined && this.#turns === undefined) return 0
    const usedBy = (client: string): number => this.#clients.get(client)?.window.used(now) ?? 0
    if (usedBy(call.client) < floor) return 0
    return (this.#floors?.kept(call.client, allowed, now, usedBy) ?? 0) + (this.#turns?.before(call.level ?? 1, now) ?? 0)
  }

  /** A call of that priority was refused because the bucket is dry: lower ones leave it room when it comes back. */
  ranDry (call: LimitCall, { wait }: Refused, now: number): void {
    if (call.level === undefined && this.#turns === undefined) return
    (this.#turns ??= new Turns()).refused(call.level ?? 1, wait.untilMs, wait.limit, now, call.again)
  }

  /** A call goes: it is counted where it has to be. */
  admitted (call: LimitCall, now: number): void {
    if (this.#narrowed !== undefined && now < this.#narrowed.untilMs) this.#narrowed.take()
    this.#turns?.admitted(call.level ?? 1)
  }

  /** A call was never made. */
  unspent (reservedAt: number): void {
    if (this.#narrowed !== undefined && reservedAt >= this.#narrowed.loss.at) this.#narrowed.giveBack()
  }

  /** The shared store is lost: the gate keeps to its share; undefined: it is there again. */
  narrow (loss: Loss | undefined, seen: Seen | undefined, now: number): void {
    const whole = allowance(this.plan, this.#learnedOrg, this.#upstream.headerLimit(now))
    this.#narrowed = loss === undefined ? undefined : new Narrowed(loss, seen, whole)
  }

  /** What a store that has lost its memory is told: org's limit that was learned, and until when it is closed. */
  get taught (): { learnedOrg: number, closedUntilMs: number, closedAnonymousUntilMs: number } {
    return { learnedOrg: this.#learnedOrg ?? 0, closedUntilMs: this.#closedUntilMs, closedAnonymousUntilMs: this.#closedAnonymousUntilMs }
  }

  /** Takes over what another gate has learned. */
  learn (learnedOrg: number, closedUntilMs: number, closedAnonymousUntilMs: number): void {
    if (learnedOrg > 0) this.#learnedOrg = learnedOrg
    this.#closedUntilMs = Math.max(this.#closedUntilMs, closedUntilMs)
    this.#closedAnonymousUntilMs = Math.max(this.#closedAnonymousUntilMs, closedAnonymousUntilMs)
  }

  /** The shared store is lost, and showed this bucket before: what is spent of it is known. */
  get seen (): boolean {
    return this.#narrowed?.seen !== undefined
  }

  /** Every client's state. */
  get clients (): readonly ClientState[] {
    return this.#list
  }

  /** The client's state, made if need be; drops a few others that hold nothing any more. */
  client (id: string, now: number): ClientState {
    this.#sweep(SWEEP_STEP, now)
    let state = this.#clients.get(id)
    if (state === undefined) {
      state = { client: id, window: new SlidingWindow() }
      this.#clients.set(id, state)
      this.#list.push(state)
    }
    return state
  }

  /** Whether that state of a client is still the one in use. */
  holds (state: ClientState): boolean {
    return this.#clients.get(state.client) === state
  }

  /**
   * What an answer teaches; `undefined`: there was none.
   *
   * @param sentAt when its call was reserved
   * @param alone false: other gates' calls are known from the shared store
   */
  observe (observation: Observation | undefined, credential: CredentialKind, sentAt: number, now: number, alone: boolean): void {
    const remaining = this.remaining(credential)
    if (observation === undefined) return remaining.lose(now + GUARD_MS)
    const first = !remaining.learned
    remaining.learned = true
    if (observation.tooMany) this.#tooMany++
    switch (observation.kind) {
      case 'window':
        this.#learnedOrg = learnOrg(observation.limit, credential, this.plan.credentialShare)
        remaining.observe(observation.limit, observation.remaining, observation.resetMs, sentAt)
        if (first && alone && !this.seen && credential !== 'none') this.#charge(observation.limit - observation.remaining, credential, now)
        // With calls left, a 429 is about something else (SMS, e-mail, per-user limits).
        if (observation.tooMany && observation.remaining === 0) this.#close(credential, observation.resetMs + RESET_GUARD_MS)
        return
      case 'concurrency':
        remaining.lose(now)
        return this.#close(credential, observation.resetMs)
      case 'silent':
        remaining.lose(now)
        if (observation.tooMany) this.#close(credential, now + SOON_MS)
        return
      case 'nonsense':
        remaining.lose(now)
        this.#nonsense++
        return
      default: unreachable(observation)
    }
  }

  /** For metrics; also drops whatever holds nothing, so that a bucket nobody calls any more keeps no clients. */
  view (now: number): BucketView {
    this.#cursor = 0
    this.#sweep(this.#list.length, now)
    for (const { rules } of this.#list) rules?.forEach((window, id) => { if (window.used(now) === 0) rules.delete(id) })
    const seen = [this.#upstream, this.#none, this.#authnToken].filter(one => one.seen)
    const headerLimit = Math.max(...(seen.length > 0 ? seen : [this.#upstream]).map(one => one.headerLimit(now)))
    const closedUntilMs = Math.max(this.#closedUntilMs, this.#closedAnonymousUntilMs)
    return {
      bucket: this.plan.bucket,
      org: orgLimit(this.plan, this.#learnedOrg),
      source: orgSource(this.plan, this.#learnedOrg),
      allowance: allowance(this.plan, this.#learnedOrg, headerLimit),
      used: this.window.used(now),
      inFlight: this.window.inFlight,
      waiting: this.queue.size,
      closedUntilMs: closedUntilMs > now ? closedUntilMs : undefined,
      clients: this.#list.map(one => ({ client: one.client, used: one.window.used(now) })),
      nonsense: this.#nonsense,
      tooMany: this.#tooMany
    }
  }

  /**
   * The first answer since the start says how much of Okta's window is spent. It may have been us, before the
   * restart: held for a span as if it was, or the rolling bound would break when Okta's own window resets.
   * Not so what anonymous calls see, which is everybody's use.
   */
  #charge (spent: number, credential: CredentialKind, now: number): void {
    const allowed = allowance(this.plan, this.#learnedOrg, this.remaining(credential).headerLimit(now))
    this.window.charge(Math.min(spent, allowed) - this.window.used(now), now)
  }

  /** Anonymous calls see the org's own counter, so their 429 is everybody's; a credential's may be its own. */
  #close (credential: CredentialKind, untilMs: number): void {
    this.#closedUntilMs = Math.max(this.#closedUntilMs, untilMs)
    if (credential === 'none') this.#closedAnonymousUntilMs = Math.max(this.#closedAnonymousUntilMs, untilMs)
  }

  /** Drops clients that hold no slot. A rule's slots are its client's too, so they are gone as well. */
  #sweep (steps: number, now: number): void {
    const list = this.#list
    for (let i = 0; i < steps && list.length > 0; i++) {
      if (this.#cursor >= list.length) this.#cursor = 0
      const state = list[this.#cursor]!
      if (state.window.used(now) > 0) { this.#cursor++; continue }
      this.#clients.delete(state.client)
      const last = list.pop()!
      if (last !== state) list[this.#cursor] = last
    }
  }
}

/** The rule's window of a client, made if need be. */
export function ruleWindow (state: ClientState, ruleId: string): SlidingWindow {
  state.rules ??= new Map()
  let window = state.rules.get(ruleId)
  if (window === undefined) state.rules.set(ruleId, window = new SlidingWindow())
  return window
}

function isFull (window: SlidingWindow | undefined, limit: number, now: number): boolean {
  return (window === undefined ? 0 : window.used(now)) >= limit
}

/** Never, when the limit is 0; soon, when only answers can free a slot. */
function untilFree (window: SlidingWindow | undefined, limit: number, now: number): number {
  return limit <= 0 ? Infinity : window?.freeAt(limit) ?? now + SOON_MS
}
