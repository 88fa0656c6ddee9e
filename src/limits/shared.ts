import type { Observation } from './headers.js'
import { MemoryStore } from './memory.js'
import { Session } from './session.js'
import { SharedTicket, type SharedOptions, type StoreStatus } from './shared-call.js'
import type { Admission, LimitCall, LimitStore, Ticket, UpstreamView } from './store.js'

/**
 * The limit store of several gates: budgets in Redis or Valkey, a mirror of this gate's part in memory. When the store
 * does not answer, the mirror goes on with this gate's share.
 */
export class SharedStore implements LimitStore {
  readonly #options: SharedOptions
  readonly #mirror: MemoryStore
  readonly #sessions = new Map<string, Session>()

  constructor (options: SharedOptions) {
    this.#options = options
    this.#mirror = new MemoryStore(options.later)
  }

  reserve (call: LimitCall, now: number): Admission | Promise<Admission> {
    const session = this.#session(call.plan.upstream)
    session.plans.set(call.plan.bucket, call.plan)
    return session.reserve(call, now)
  }

  settle (ticket: Ticket, observation: Observation | undefined, now: number): void {
    const held = own(ticket)
    if (held.settled) return
    held.settled = true
    this.#mirror.settle(held.own, observation, now)
    held.session.settle(held, observation)
  }

  release (ticket: Ticket, now: number): void {
    const held = own(ticket)
    if (held.released) return
    this.settle(held, undefined, now)
    held.released = true
    this.#mirror.release(held.own, now)
    held.session.release()
  }

  cancel (ticket: Ticket, now: number): void {
    const held = own(ticket)
    if (!held.settled) {
      held.settled = true
      this.#mirror.cancel(held.own, now)
      held.session.cancel(held)
    }
    this.release(held, now)
  }

  async snapshot (now: number): Promise<readonly UpstreamView[]> {
    return await Promise.all([...this.#sessions.values()].map(async session => await session.view(now) ?? this.#mirror.snapshot(now).find(one => one.upstream === session.upstream)!))
  }

  /** Tells the store that this gate is there, comes back to it, and tries what waits. To be called every `BEAT_MS`. */
  beat (now: number): void {
    for (const session of this.#sessions.values()) session.beat(now)
  }

  /** Joins the store for these upstreams. Never rejects; resolves when the store has answered or has not in time. */
  async ready (upstreams: Iterable<string>): Promise<void> {
    await Promise.all(Array.from(upstreams, async upstream => { await this.#session(upstream).join() }))
  }

  status (): StoreStatus[] {
    return Array.from(this.#sessions.values(), session => session.status)
  }

  async close (now: number): Promise<void> {
    await Promise.all([...this.#sessions.values()].map(async session => { await session.close(now) }))
    await this.#mirror.close(now)
    await this.#options.line.close()
  }

  #session (upstream: string): Session {
    let session = this.#sessions.get(upstream)
    if (session === undefined) this.#sessions.set(upstream, session = new Session(upstream, this.#options, this.#mirror))
    return session
  }
}

function own (ticket: Ticket): SharedTicket {
  if (!(ticket instanceof SharedTicket)) throw new Error('the ticket belongs to another store')
  return ticket
}
