import type { CredentialKind } from '../domain/decision.js'
import { unreachable } from '../domain/rejection.js'
import type { LeaseBook, Lessee } from './lease-book.js'
import { LOW, type LeaseScope } from './leases.js'
import { learn, type CallShape, type RelayAnswer, type RelayStep, type Taught } from './relay-wire.js'
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

  constructor (shape: CallShape, readonly user: string | undefined, readonly waitMs: number | undefined, public again: boolean) {
    this.plan = shape.plan
    this.credential = shape.credential
    this.client = shape.client
    this.share = shape.share
    this.rule = shape.rule
    this.floor = shape.floor
    this.level = shape.level
  }
}

interface Held { readonly ticket: Ticket, readonly shape: CallShape }

/** Where the primary serves one worker: the worker's calls in the store of all, and what has to be settled when it dies. */
export class LimitDesk implements Lessee {
  readonly #store: LimitStore
  readonly #time: () => number
  readonly #answer: (answer: RelayAnswer) => void
  readonly #shapes = new Map<number, CallShape>()
  readonly #tickets = new Map<number, Held>()
  readonly #waiting = new Map<number, RelayedCall>()
  readonly #leases: LeaseBook | undefined
  #gone = false
  #now = 0

  /**
   * @param clock the primary's steady clock: budgets of all workers are counted on it
   * @param leases what was leased to all workers; absent: nothing is
   */
  constructor (store: LimitStore, clock: () => number, answer: (answer: RelayAnswer) => void, leases?: LeaseBook) {
    this.#store = store
    this.#leases = leases
    this.#time = clock
    this.#answer = answer
  }

  take (step: RelayStep): void {
    switch (step[0]) {
      case 'define': this.#shapes.set(step[1], step[2]); return
      case 'forget': this.#shapes.clear(); return
      case 'reserve': this.#reserve(step[1], step[2], step[3] ?? undefined, step[4] ?? undefined, step[5] === 1); return
      case 'settle': { const held = this.#tickets.get(step[1]); if (held !== undefined) this.#settle(held, step[2]); return }
      case 'done': this.#end(step[1], (held, now) => { this.#settle(held, step[2]); this.#store.release(held.ticket, now) }); return
      case 'lease': this.#lease(step[1], step[2], step[3]); return
      case 'recalled': this.#leases?.returned(this, step[1]); return
      case 'release': this.#end(step[1], ({ ticket }, now) => { this.#store.release(ticket, now) }); return
      case 'cancel': this.#end(step[1], ({ ticket }, now) => { this.#store.cancel(ticket, now) }); return
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
    this.#leases?.leave(this)
    const now = this.#clock()
    for (const call of this.#waiting.values()) call.signal.aborted = true
    for (const { ticket } of this.#tickets.values()) this.#store.release(ticket, now)
    this.#tickets.clear()
  }

  /** Slots that lie unused with this worker are wanted back. */
  recall (number: number, { upstream, bucket, client }: LeaseScope): void {
    this.#answer(['recall', number, upstream ?? null, bucket ?? null, client ?? null])
  }

  #shape (id: number): CallShape {
    // From its first call on it has something to give back; one that is still starting does not answer.
    this.#leases?.join(this)
    const shape = this.#shapes.get(id)
    if (shape === undefined) throw new Error('a worker speaks of a shape that it has not defined')
    return shape
  }

  #lease (shapeId: number, first: number, count: number): void {
    const shape = this.#shape(shapeId)
    const tickets = this.#leases === undefined ? [] : this.#store.lease?.(new RelayedCall(shape, undefined, undefined, false), count, this.#clock()) ?? []
    tickets.forEach((ticket, i) => { this.#tickets.set(first + i, { ticket, shape }) })
    if (tickets.length > 0) this.#leases!.leased(shape)
    this.#answer(['leased', shapeId, first, tickets.length])
  }

  #reserve (id: number, shapeId: number, user: string | undefined, waitMs: number | undefined, again: boolean): void {
    const call = new RelayedCall(this.#shape(shapeId), user, waitMs, again)
    const asked = this.#store.reserve(call, this.#clock())
    if (asked instanceof Promise) { this.#waits(id, call, asked); return }
    const back = asked.kind === 'refused' ? this.#leases?.recall(call, asked.by, this.#clock()) : undefined
    if (back === undefined) { this.#decided(id, call, asked); return }
    // What others have leased and not used comes first; then the answer is the store's.
    this.#waiting.set(id, call)
    back.then(() => {
      this.#waiting.delete(id)
      const now = this.#clock()
      if (this.#gone) return
      if (call.signal.aborted) { this.#decided(id, call, asked); return }
      call.again = true
      const second = this.#store.reserve(call, now)
      if (second instanceof Promise) this.#waits(id, call, second)
      else this.#decided(id, call, second)
    }, () => {})
  }

  #waits (id: number, call: RelayedCall, asked: Promise<Admission>): void {
    this.#waiting.set(id, call)
    this.#answer(['waits', id])
    asked.then(admission => { this.#waiting.delete(id); this.#decided(id, call, admission) }, () => { this.#waiting.delete(id); this.#answer(['refused', id, 'store', 1000, 0]) })
  }

  #decided (id: number, shape: CallShape, admission: Admission): void {
    const now = this.#clock()
    if (admission.kind === 'refused') {
      const { by, wait } = admission
      this.#answer(['refused', id, by, wait.untilMs - now, wait.limit])
    } else if (this.#gone) this.#store.cancel(admission.ticket, now)
    else {
      this.#tickets.set(id, { ticket: admission.ticket, shape })
      this.#answer(['admitted', id])
    }
  }

  #settle ({ ticket, shape }: Held, taught: Taught): void {
    const now = this.#clock()
    this.#store.settle(ticket, learn(taught, now), now)
    if (taught[1] === 1) this.#leases?.recallAll()
    else if (taught[0] === 0 && taught[3] !== undefined && taught[3] < LOW) this.#leases?.recallBucket(shape, now)
  }

  #end (id: number, how: (held: Held, now: number) => void): void {
    const held = this.#tickets.get(id)
    if (held === undefined) return
    this.#tickets.delete(id)
    how(held, this.#clock())
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
