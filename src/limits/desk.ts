import type { CredentialKind } from '../domain/decision.js'
import { unreachable } from '../domain/rejection.js'
import { learn, type CallShape, type RelayAnswer, type RelayStep } from './relay-wire.js'
import type { Admission, Level, LimitCall, LimitStore, RuleLimit, Ticket, BucketPlan } from './store.js'

/** A call of a worker, as the store sees it. */
class RelayedCall implements LimitCall {
  readonly plan: BucketPlan
  readonly credential: CredentialKind
  readonly client: string
  readonly share: number
  readonly rule?: RuleLimit
  readonly floor?: number
  readonly level?: Level
  readonly signal = { aborted: false }

  constructor (shape: CallShape, readonly user: string | undefined, readonly waitMs: number | undefined, readonly again: boolean) {
    this.plan = shape.plan
    this.credential = shape.credential
    this.client = shape.client
    this.share = shape.share
    this.rule = shape.rule
    this.floor = shape.floor
    this.level = shape.level
  }
}

/** Where the primary serves one worker: the worker's calls in the store of all, and what has to be settled when it dies. */
export class LimitDesk {
  readonly #store: LimitStore
  readonly #time: () => number
  readonly #answer: (answer: RelayAnswer) => void
  readonly #shapes = new Map<number, CallShape>()
  readonly #tickets = new Map<number, Ticket>()
  readonly #waiting = new Map<number, RelayedCall>()
  #gone = false
  #now = 0

  /** @param clock the primary's steady clock: budgets of all workers are counted on it */
  constructor (store: LimitStore, clock: () => number, answer: (answer: RelayAnswer) => void) {
    this.#store = store
    this.#time = clock
    this.#answer = answer
  }

  take (step: RelayStep): void {
    switch (step[0]) {
      case 'define': this.#shapes.set(step[1], step[2]); return
      case 'forget': this.#shapes.clear(); return
      case 'reserve': this.#reserve(step[1], step[2], step[3] ?? undefined, step[4] ?? undefined, step[5] === 1); return
      case 'settle': { const ticket = this.#tickets.get(step[1]); if (ticket !== undefined) this.#settle(ticket, step[2]); return }
      case 'release': this.#end(step[1], (ticket, now) => { this.#store.release(ticket, now) }); return
      case 'cancel': this.#end(step[1], (ticket, now) => { this.#store.cancel(ticket, now) }); return
      case 'left': { const call = this.#waiting.get(step[1]); if (call !== undefined) call.signal.aborted = true; return }
      case 'view': this.#view(step[1]); return
      default: unreachable(step)
    }
  }

  /**
   * The worker is dead. Nobody knows what of its calls has reached Okta: each counts for a span from now on, and none is
   * in flight any more, for its connections have died with it.
   */
  leave (): void {
    this.#gone = true
    const now = this.#clock()
    for (const call of this.#waiting.values()) call.signal.aborted = true
    for (const ticket of this.#tickets.values()) this.#store.release(ticket, now)
    this.#tickets.clear()
  }

  #reserve (id: number, shapeId: number, user: string | undefined, waitMs: number | undefined, again: boolean): void {
    const shape = this.#shapes.get(shapeId)
    if (shape === undefined) throw new Error('a worker speaks of a shape that it has not defined')
    const call = new RelayedCall(shape, user, waitMs, again)
    const asked = this.#store.reserve(call, this.#clock())
    if (!(asked instanceof Promise)) { this.#decided(id, asked); return }
    this.#waiting.set(id, call)
    this.#answer(['waits', id])
    asked.then(admission => { this.#waiting.delete(id); this.#decided(id, admission) }, () => { this.#waiting.delete(id); this.#answer(['refused', id, 'store', 1000, 0]) })
  }

  #decided (id: number, admission: Admission): void {
    const now = this.#clock()
    if (admission.kind === 'refused') {
      const { by, wait } = admission
      this.#answer(['refused', id, by, wait.untilMs - now, wait.limit])
    } else if (this.#gone) this.#store.cancel(admission.ticket, now)
    else {
      this.#tickets.set(id, admission.ticket)
      this.#answer(['admitted', id])
    }
  }

  #settle (ticket: Ticket, taught: Parameters<typeof learn>[0]): void {
    const now = this.#clock()
    this.#store.settle(ticket, learn(taught, now), now)
  }

  #end (id: number, how: (ticket: Ticket, now: number) => void): void {
    const ticket = this.#tickets.get(id)
    if (ticket === undefined) return
    this.#tickets.delete(id)
    how(ticket, this.#clock())
  }

  /** Held when it goes back, as the store holds it. */
  #clock (): number {
    this.#now = Math.max(this.#now, this.#time())
    return this.#now
  }

  #view (id: number): void {
    Promise.resolve(this.#store.snapshot(this.#clock())).then(views => { this.#answer(['viewed', id, views]) }, () => { this.#answer(['viewed', id, []]) })
  }
}
