import type { CredentialKind } from '../domain/decision.js'
import { concurrencyAllowance } from './allowance.js'
import { BucketState, refuse, ruleWindow } from './bucket.js'
import { Concurrency } from './concurrency.js'
import type { Observation } from './headers.js'
import type { Loss, Seen } from './narrow.js'
import { PROBE_QUEUE, type Later } from './probe.js'
import type { Admission, LimitCall, LimitStore, Refused, Ticket, UpstreamView } from './store.js'
import { USER_CALLS, Users } from './users.js'
import type { SlidingWindow } from './window.js'

interface UpstreamState {
  readonly concurrency: Concurrency
  /** the latest seen: a reload may change it */
  concurrencyAllowed: number
  readonly buckets: Map<string, BucketState>
  readonly users: Users
  /** the shared store is lost */
  loss: Loss | undefined
  /** what it showed before it was lost */
  seen: ReadonlyMap<string, Seen>
}

/** Ticket and admission in one object: one allocation per call. */
class MemoryTicket implements Ticket {
  readonly kind = 'admitted'
  settled = false
  released = false

  constructor (
    readonly upstream: UpstreamState,
    readonly bucket: BucketState,
    readonly credential: CredentialKind,
    readonly client: SlidingWindow,
    readonly rule: SlidingWindow | undefined,
    readonly user: { readonly hash: string, readonly taken: { untilMs: number } } | undefined,
    readonly reservedAt: number,
    /** admitted by this store, not by the shared one */
    readonly alone: boolean
  ) {}

  get ticket (): Ticket {
    return this
  }
}

/** A lease takes at most this part of what its tightest budget has left: the rest is for calls that are there. */
const LEASE_PART = 8

/** The limit store of a single gate: budgets in memory, answered at once. */
export class MemoryStore implements LimitStore {
  readonly #upstreams = new Map<string, UpstreamState>()
  readonly #later: Later
  #now = 0

  /** @param later a timer, for calls that wait for a bucket's first answer */
  constructor (later: Later) {
    this.#later = later
  }

  reserve (call: LimitCall, now: number): Admission | Promise<Admission> {
    const at = this.#tick(now)
    const upstream = this.#upstream(call)
    const bucket = this.#bucket(upstream, call)
    const admission = this.#attempt(upstream, bucket, call, at)
    if (admission !== undefined) return admission
    if (bucket.queue.size >= PROBE_QUEUE) return refuse('concurrency', undefined, 1, at)
    return bucket.queue.wait(call, this.#later, later => refuse('concurrency', undefined, 1, this.#tick(later)))
  }

  lease (call: LimitCall, most: number, now: number): readonly Ticket[] {
    const at = this.#tick(now)
    const upstream = this.#upstream(call)
    if (call.user !== undefined || upstream.loss !== undefined) return []
    const bucket = this.#bucket(upstream, call)
    const free = upstream.concurrency.allowed(upstream.concurrencyAllowed, at) - upstream.concurrency.inFlight
    const count = Math.min(most, Math.floor(Math.min(bucket.room(call, at), free) / LEASE_PART))
    return Array.from({ length: Math.max(0, count) }, () => this.#take(upstream, bucket, call, at))
  }

  /** Counts a call that the shared store has admitted. */
  hold (call: LimitCall, now: number): Ticket {
    const at = this.#tick(now)
    const upstream = this.#upstream(call)
    return this.#take(upstream, this.#bucket(upstream, call), call, at, false)
  }

  /** The shared store is lost: every bucket of that upstream keeps to this gate's share. `undefined`: it is there again. */
  narrow (upstream: string, loss: Loss | undefined, seen: ReadonlyMap<string, Seen>, now: number): void {
    const state = this.#named(upstream)
    state.loss = loss
    state.seen = seen
    for (const [name, bucket] of state.buckets) bucket.narrow(loss, seen.get(name), this.#tick(now))
  }

  /** Takes over what other gates have learned of a bucket that this one calls, too. */
  learn (upstream: string, bucket: string, learnedOrg: number, closedUntilMs: number, closedAnonymousUntilMs: number): void {
    this.#upstreams.get(upstream)?.buckets.get(bucket)?.learn(learnedOrg, closedUntilMs, closedAnonymousUntilMs)
  }

  /** The states of an upstream's buckets, and how many of its calls are in flight. */
  inside (upstream: string): { readonly buckets: ReadonlyMap<string, BucketState>, readonly inFlight: number } {
    const { buckets, concurrency } = this.#named(upstream)
    return { buckets, inFlight: concurrency.inFlight }
  }

  settle (ticket: Ticket, observation: Observation | undefined, now: number): void {
    const held = own(ticket)
    if (held.settled) return
    const at = this.#tick(now)
    held.settled = true
    held.bucket.window.settle(at)
    held.client.settle(at)
    held.rule?.settle(at)
    if (held.user !== undefined) held.upstream.users.settle(held.user.hash, held.user.taken, at)
    if (observation?.kind === 'concurrency') held.upstream.concurrency.learn(held.upstream.concurrencyAllowed, at)
    held.bucket.observe(observation, held.credential, held.reservedAt, at, held.alone)
    this.#answered(held, at)
  }

  release (ticket: Ticket, now: number): void {
    const held = own(ticket)
    if (held.released) return
    this.settle(held, undefined, now)
    held.released = true
    held.upstream.concurrency.giveBack()
  }

  cancel (ticket: Ticket, now: number): void {
    const held = own(ticket)
    if (!held.settled) {
      held.settled = true
      held.bucket.window.giveBack()
      held.client.giveBack()
      held.rule?.giveBack()
      if (held.user !== undefined) held.upstream.users.giveBack(held.user.hash, held.user.taken)
      held.bucket.unspent(held.reservedAt)
      held.bucket.remaining(held.credential).giveBack()
      this.#answered(held, this.#tick(now))
    }
    this.release(held, now)
  }

  snapshot (now: number): readonly UpstreamView[] {
    const at = this.#tick(now)
    return Array.from(this.#upstreams, ([upstream, state]) => ({
      upstream,
      inFlight: state.concurrency.inFlight,
      allowance: state.concurrency.allowed(state.concurrencyAllowed, at),
      buckets: Array.from(state.buckets.values(), bucket => bucket.view(at))
    }))
  }

  async close (now: number): Promise<void> {
    const at = this.#tick(now)
    for (const upstream of this.#upstreams.values()) {
      for (const bucket of upstream.buckets.values()) bucket.queue.drain(() => refuse('concurrency', undefined, 1, at))
    }
  }

  /** Admits or refuses; undefined: the first answer of the bucket has to come first. */
  #attempt (upstream: UpstreamState, bucket: BucketState, call: LimitCall, now: number): MemoryTicket | Refused | undefined {
    const refused = bucket.refusal(call, now)
    if (refused !== undefined) {
      if (refused.by === 'bucket') bucket.ranDry(call, refused, now)
      return refused
    }
    const replicas = upstream.loss?.replicas ?? 1
    const calls = Math.max(1, Math.floor(USER_CALLS / replicas))
    if (call.user !== undefined && upstream.users.isFull(call.user, now, calls)) return refuse('user', undefined, calls, now)
    const allowed = Math.max(1, Math.floor(upstream.concurrency.allowed(upstream.concurrencyAllowed, now) / replicas))
    if (upstream.concurrency.inFlight >= allowed) return refuse('concurrency', undefined, allowed, now)
    const remaining = bucket.remaining(call.credential)
    const first = !remaining.learned && !bucket.seen
    if (first && bucket.probe !== undefined) return undefined
    const ticket = this.#take(upstream, bucket, call, now)
    if (first) bucket.probe = ticket
    return ticket
  }

  #take (upstream: UpstreamState, bucket: BucketState, call: LimitCall, now: number, alone = true): MemoryTicket {
    const client = bucket.client(call.client, now)
    const rule = call.rule === undefined ? undefined : ruleWindow(client, call.rule.id)
    bucket.window.take()
    client.window.take()
    rule?.take()
    bucket.remaining(call.credential).take()
    upstream.concurrency.take()
    bucket.admitted(call, now)
    const user = call.user === undefined ? undefined : { hash: call.user, taken: upstream.users.take(call.user, now) }
    return new MemoryTicket(upstream, bucket, call.credential, client.window, rule, user, now, alone)
  }

  /** When that was the awaited call, the others go, in order; after a failure the first of them is awaited next. */
  #answered (ticket: MemoryTicket, now: number): void {
    const { bucket } = ticket
    if (bucket.probe !== ticket) return
    bucket.probe = undefined
    if (bucket.queue.size === 0) return
    bucket.queue.drain(call => call.signal?.aborted === true
      ? refuse('concurrency', undefined, 1, now)
      : this.#attempt(ticket.upstream, bucket, call, now))
  }

  #upstream (call: LimitCall): UpstreamState {
    return this.#named(call.plan.upstream)
  }

  #named (upstream: string): UpstreamState {
    let state = this.#upstreams.get(upstream)
    if (state === undefined) {
      state = { concurrency: new Concurrency(), concurrencyAllowed: 0, buckets: new Map(), users: new Users(), loss: undefined, seen: new Map() }
      this.#upstreams.set(upstream, state)
    }
    return state
  }

  #bucket (upstream: UpstreamState, call: LimitCall): BucketState {
    let state = upstream.buckets.get(call.plan.bucket)
    if (state === undefined) {
      state = new BucketState(call.plan)
      upstream.buckets.set(call.plan.bucket, state)
      if (upstream.loss !== undefined) state.narrow(upstream.loss, upstream.seen.get(call.plan.bucket), this.#now)
    }
    state.plan = call.plan
    upstream.concurrencyAllowed = concurrencyAllowance(call.plan)
    return state
  }

  /** A clock that went back is held: a slot must never expire early, nor expiries lose their order. */
  #tick (now: number): number {
    if (now > this.#now) this.#now = now
    return this.#now
  }
}

function own (ticket: Ticket): MemoryTicket {
  if (!(ticket instanceof MemoryTicket)) throw new Error('the ticket belongs to another store')
  return ticket
}
