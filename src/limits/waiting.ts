import { refuse } from './bucket.js'
import type { Observation } from './headers.js'
import type { Later } from './probe.js'
import type { Admission, LimitCall, LimitStore, Refused, RefusedBy, Ticket, UpstreamView } from './store.js'

/** How many calls of one bucket may wait for allowance. */
export const WAITING_MOST = 1000

/** How often a queue is looked at when nothing says more: clients hang up, other gates give back. */
const LOOK_MS = 200

/** What holds up everybody behind, not only the call's own client. */
const FOR_ALL: ReadonlySet<RefusedBy> = new Set(['bucket', 'closed', 'concurrency', 'store'])

interface Waiter {
  readonly call: LimitCall
  readonly since: number
  readonly untilMs: number
  refused: Refused
  readonly resolve: (admission: Admission) => void
}

interface Queue {
  /** by priority, then in order of arrival */
  readonly waiters: Waiter[]
  armed: boolean
  /** the store is being asked */
  busy: boolean
  watched: boolean
}

/** How long calls have waited, since the start. */
export interface Waits {
  readonly count: number
  readonly sumMs: number
  readonly admitted: number
  /** their clients hung up */
  readonly left: number
}

/**
 * Holds calls that may wait, in order, until the store has allowance for them, their time is over, or their client has
 * left. Over any store; the queue is this gate's own.
 */
export class WaitingStore<S extends LimitStore> implements LimitStore {
  readonly #later: Later
  readonly #queues = new Map<string, Queue>()
  #count = 0
  #sumMs = 0
  #admitted = 0
  #left = 0

  constructor (readonly inner: S, later: Later) {
    this.#later = later
  }

  get waits (): Waits {
    return { count: this.#count, sumMs: this.#sumMs, admitted: this.#admitted, left: this.#left }
  }

  reserve (call: LimitCall, now: number): Admission | Promise<Admission> {
    const queue = this.#queues.size === 0 ? undefined : this.#queues.get(keyOf(call))
    const ahead = queue?.waiters.find(one => levelOf(one.call) <= levelOf(call) && (FOR_ALL.has(one.refused.by) || one.call.client === call.client))
    if (ahead !== undefined) return this.#orWait(call, refuse(ahead.refused.by, Math.max(now + 1, ahead.refused.wait.untilMs), ahead.refused.wait.limit, now), now)
    const admission = this.inner.reserve(call, now)
    if (call.waitMs === undefined) return admission
    if (admission instanceof Promise) return admission.then(one => one.kind === 'admitted' ? one : this.#orWait(call, one, now))
    return admission.kind === 'admitted' ? admission : this.#orWait(call, admission, now)
  }

  /** Who waits comes before who is expected. */
  lease (call: LimitCall, most: number, now: number): readonly Ticket[] {
    return (this.#queues.get(keyOf(call))?.waiters.length ?? 0) > 0 ? [] : this.inner.lease?.(call, most, now) ?? []
  }

  settle (ticket: Ticket, observation: Observation | undefined, now: number): void {
    this.inner.settle(ticket, observation, now)
  }

  release (ticket: Ticket, now: number): void {
    this.inner.release(ticket, now)
    this.#freed(now)
  }

  cancel (ticket: Ticket, now: number): void {
    this.inner.cancel(ticket, now)
    this.#freed(now)
  }

  snapshot (now: number): readonly UpstreamView[] | Promise<readonly UpstreamView[]> {
    const views = this.inner.snapshot(now)
    return views instanceof Promise ? views.then(all => this.#withQueues(all)) : this.#withQueues(views)
  }

  async close (now: number): Promise<void> {
    for (const [key, queue] of this.#queues) {
      this.#queues.delete(key)
      for (const one of queue.waiters.splice(0)) this.#end(one, one.refused, now)
    }
    await this.inner.close(now)
  }

  #withQueues (views: readonly UpstreamView[]): readonly UpstreamView[] {
    if (this.#queues.size === 0) return views
    return views.map(view => ({ ...view, buckets: view.buckets.map(one => ({ ...one, waiting: one.waiting + (this.#queues.get(`${view.upstream}\n${one.bucket}`)?.waiters.length ?? 0) })) }))
  }

  /** Waits where that can help: for a slot that is known to come only when the call's time is over it is refused at once. */
  #orWait (call: LimitCall, refused: Refused, now: number): Admission | Promise<Admission> {
    const { waitMs } = call
    if (waitMs === undefined || refused.wait.limit === 0) return refused
    const untilMs = now + waitMs
    if (refused.by !== 'concurrency' && refused.wait.untilMs >= untilMs) return refused
    const key = keyOf(call)
    let queue = this.#queues.get(key)
    if (queue === undefined) this.#queues.set(key, queue = { waiters: [], armed: false, busy: false, watched: false })
    if (queue.waiters.length >= WAITING_MOST) return refused
    const known = queue
    return new Promise(resolve => {
      const { waiters } = known
      let at = waiters.length
      while (at > 0 && levelOf(waiters[at - 1]!.call) > levelOf(call)) at--
      waiters.splice(at, 0, { call: { ...call, again: true }, since: now, untilMs, refused, resolve })
      this.#arm(key, known, now)
      this.#watch(known)
    })
  }

  /** Whoever leaves, or has waited long enough, goes: also while the store takes its time with one of the others. */
  #watch (queue: Queue): void {
    if (queue.watched || queue.waiters.length === 0) return
    queue.watched = true
    this.#later(LOOK_MS, now => {
      queue.watched = false
      this.#dismiss(queue, now)
      this.#watch(queue)
    })
  }

  #dismiss (queue: Queue, now: number): void {
    for (const one of [...queue.waiters]) if (one.call.signal?.aborted === true || now >= one.untilMs) this.#leave(queue, one, one.refused, now)
  }

  #arm (key: string, queue: Queue, now: number): void {
    if (queue.armed || queue.waiters.length === 0) return
    queue.armed = true
    const soonest = queue.waiters.reduce((least, one) => Math.min(least, one.untilMs, one.refused.wait.untilMs), now + LOOK_MS)
    this.#later(Math.max(1, Math.ceil(soonest - now)), later => { queue.armed = false; this.#look(key, queue, later) })
  }

  /** Something was given back: whoever waits for a place in flight may go. */
  #freed (now: number): void {
    for (const [key, queue] of this.#queues) if (queue.waiters[0]?.refused.by === 'concurrency') this.#look(key, queue, now)
  }

  #look (key: string, queue: Queue, now: number): void {
    if (queue.busy) return
    queue.busy = true
    this.#serve(queue, now).finally(() => {
      queue.busy = false
      if (queue.waiters.length === 0) this.#queues.delete(key)
      else this.#arm(key, queue, now)
    }).catch(() => {})
  }

  async #serve (queue: Queue, now: number): Promise<void> {
    this.#dismiss(queue, now)
    const heldUp = new Set<string>()
    for (const one of [...queue.waiters]) {
      if (heldUp.has(one.call.client) || one.call.signal?.aborted === true || !queue.waiters.includes(one)) continue
      const asked = this.inner.reserve(one.call, now)
      const admission = asked instanceof Promise ? await asked : asked
      if (admission.kind === 'admitted') {
        if (queue.waiters.includes(one)) this.#leave(queue, one, admission, now)
        else this.inner.cancel(admission.ticket, now)
        continue
      }
      one.refused = admission
      if (FOR_ALL.has(admission.by)) break
      heldUp.add(one.call.client)
    }
  }

  #leave (queue: Queue, one: Waiter, admission: Admission, now: number): void {
    const at = queue.waiters.indexOf(one)
    if (at >= 0) queue.waiters.splice(at, 1)
    this.#end(one, admission, now)
  }

  #end (one: Waiter, admission: Admission, now: number): void {
    this.#count++
    this.#sumMs += now - one.since
    if (admission.kind === 'admitted') this.#admitted++
    else if (one.call.signal?.aborted === true) this.#left++
    one.resolve(admission.kind === 'refused' ? refuse(admission.by, Math.max(now + 1, admission.wait.untilMs), admission.wait.limit, now) : admission)
  }
}

function keyOf ({ plan }: LimitCall): string {
  return `${plan.upstream}\n${plan.bucket}`
}

function levelOf (call: LimitCall): number {
  return call.level ?? 1
}
