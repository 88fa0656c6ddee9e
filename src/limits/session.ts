import { Batches, type Answer } from './batches.js'
import { refuse } from './bucket.js'
import type { Observation } from './headers.js'
import type { MemoryStore } from './memory.js'
import type { Loss, Seen } from './narrow.js'
import { PROBE_QUEUE, PROBE_WAIT_MS } from './probe.js'
import { adopt, SharedTicket, unknown, type SharedOptions, type StoreStatus } from './shared-call.js'
import type { Admission, BucketPlan, LimitCall, UpstreamView } from './store.js'
import { GUARD_MS, SPAN_MS } from './window.js'
import { cancelStep, joinStep, readBeat, readReserved, readView, reserveStep, settleStep, type Step } from './wire.js'

/** How often a gate shows that it is there. What it last saw of each bucket is at most this old. */
export const BEAT_MS = 500

/** A gate that finds an empty store waits this long for others that may have lost it: they come with their second beat. */
export const PATIENCE_MS = 2000

/** Unanswered batches that are remembered: more than two minutes of attempts to come back. */
const SENT_MOST = 300

interface Waiting {
  readonly call: LimitCall
  readonly resolve: (admission: Admission) => void
  asked: boolean
}

/** One gate's part in one upstream of the shared store. */
export class Session {
  /** buckets that were called, with the latest plan */
  readonly plans = new Map<string, BucketPlan>()
  readonly #options: SharedOptions
  readonly #mirror: MemoryStore
  /** `lost`: the mirror admits; `regroup`: it does, and tells the store; `open`: the store admits */
  #state: 'new' | 'lost' | 'regroup' | 'open' = 'new'
  /** a join is under way or was answered: what happens is told to the store */
  #live = false
  #incarnation = 0
  #epoch = ''
  #peers: readonly string[] = []
  /** gates of the last minute, this one among them; 0: the store has not said */
  #gates = 0
  /** the store has been open to this gate: what it showed can be relied on */
  #opened = false
  #seen: ReadonlyMap<string, Seen> = new Map()
  #offset = 0
  #answeredAt = 0
  #sentBatches = 0
  /** those that have no answer yet */
  readonly #sent: Array<{ readonly batch: number, readonly at: number }> = []
  #lostSince: number | undefined
  #why: string | undefined
  #losses = 0
  /** gates there were at the loss; 0: nobody knows, so nothing may go */
  #sharers = 0
  #joining: Promise<void> | undefined
  #beating = false
  #ids = 0
  readonly #batches: Batches
  readonly #waiting = new Map<string, Set<Waiting>>()

  constructor (readonly upstream: string, options: SharedOptions, mirror: MemoryStore) {
    this.#options = options
    this.#mirror = mirror
    const { clock, soon, later } = options
    this.#batches = new Batches({ clock, soon, later, send: async (steps, sentAt) => await this.#send(steps, sentAt), heard: (state, sentAt) => this.#heard(state, sentAt), lost: error => { this.#lose(clock(), error) } })
  }

  get status (): StoreStatus {
    const { onStoreLoss } = this.#options
    const state = this.#state === 'open' ? 'shared' : this.#sharers === 0 ? 'refuse' : onStoreLoss
    return { upstream: this.upstream, state, replicas: this.#replicas, lostSince: this.#lostSince, why: this.#lostSince === undefined ? undefined : this.#why, losses: this.#losses }
  }

  /** Gates there are, as far as this one knows; 0: it does not. */
  get #replicas (): number {
    return Math.max(this.#gates, this.#options.replicas ?? 0)
  }

  reserve (call: LimitCall, now: number): Admission | Promise<Admission> {
    // Whatever came of it, nothing is asked for twice: it would go round in one turn of the event loop, for ever.
    if (this.#state === 'new') return this.join().then(() => this.#state === 'new' ? unknown(this.#options.clock()) : this.reserve(call, this.#options.clock()))
    if (this.#state !== 'open') return this.#alone(call, now)
    return new Promise(resolve => { this.#ask(call, resolve) })
  }

  settle ({ id, call, sentAt }: SharedTicket, observation: Observation | undefined): void {
    if (!this.#live) return
    this.#batches.push(settleStep(id, call, sentAt, observation, this.#offset), this.#pumpAfter(call))
  }

  cancel ({ id, call }: SharedTicket): void {
    if (this.#live) this.#batches.push(cancelStep(id, call), this.#pumpAfter(call))
  }

  release (): void {
    if (this.#live) this.#batches.push(['e'])
  }

  /** What the store shows; undefined while it is lost. */
  view (now: number): Promise<UpstreamView | undefined> {
    if (this.#state !== 'open') return Promise.resolve(undefined)
    return new Promise(resolve => {
      this.#batches.push(['v'], result => {
        resolve(result === undefined ? undefined : readView(this.upstream, result as Parameters<typeof readView>[1], this.plans, now, this.#offset, bucket => this.#waiting.get(bucket)?.size ?? 0))
      })
    })
  }

  beat (now: number): void {
    if (!this.#live) {
      this.join().catch(() => {})
      return
    }
    if (!this.#beating) {
      this.#beating = true
      this.#batches.push(['h'], result => { this.#beating = false; if (result !== undefined) this.#beaten(result) })
    }
    for (const bucket of this.#waiting.keys()) this.#pump(bucket, now)
  }

  /** One attempt to join, or to come back. Never rejects. */
  async join (): Promise<void> {
    // What joins is told things already, but is answered only when the join is.
    if (this.#live && this.#joining === undefined) return
    this.#joining ??= this.#join().finally(() => { this.#joining = undefined })
    await this.#joining
  }

  async close (now: number): Promise<void> {
    for (const waiting of this.#waiting.values()) for (const one of waiting) one.resolve(refuse('concurrency', undefined, 1, now))
    this.#waiting.clear()
    if (!this.#live) return
    await new Promise<void>(resolve => { this.#batches.push(['b'], () => { resolve() }) })
    this.#live = false
    this.#state = 'lost'
  }

  async #join (): Promise<void> {
    const { clock, line, timeoutMs, gate, virtual } = this.#options
    try {
      if (virtual !== true) {
        const before = clock()
        const server = await line.time()
        const after = clock()
        if (after - before > timeoutMs) throw new Error('too slow')
        this.#offset = server - (before + after) / 2
      }
    } catch (error) {
      this.#lose(clock(), error)
      return
    }
    const at = clock()
    // What was told by then expires by this; two milliseconds more, because expiries are rounded.
    const since = (told: number): number => Math.round(told + SPAN_MS + GUARD_MS + this.#offset - 2)
    const sent = this.#sent.map(({ batch, at }): [number, number] => [batch, since(at)])
    this.#incarnation++
    this.#live = true
    const newEpoch = `${gate}.${this.#incarnation}.${Math.round(at)}`
    // One to which it was never open has spent nothing, and nothing of it has to be waited for.
    const known = this.#opened || (this.#options.replicas ?? 0) > 0 ? this.#epoch : ''
    await new Promise<void>(resolve => {
      this.#batches.push(joinStep({ newEpoch, epoch: known, peers: this.#peers, since: since(this.#answeredAt), sent, patienceMs: this.#options.patienceMs ?? PATIENCE_MS }, this.#mirror.inside(this.upstream), at, this.#offset), result => {
        if (typeof result === 'string') this.#joined(result, known)
        resolve()
      })
      this.#batches.push(['h'], result => { if (result !== undefined) this.#beaten(result) })
    })
  }

  #joined (epoch: string, known: string): void {
    const emptied = known !== '' && epoch !== known
    this.#epoch = epoch
    if (this.#lostSince !== undefined) this.#options.note({ kind: 'back', upstream: this.upstream, lostMs: this.#options.clock() - this.#lostSince, emptied })
    this.#lostSince = undefined
  }

  #beaten (result: unknown): void {
    const { gates, count, buckets } = readBeat(result as Parameters<typeof readBeat>[0])
    this.#peers = gates
    // While the store gathers them again, it knows of fewer than there are.
    this.#gates = this.#state === 'open' ? count : Math.max(this.#gates, count)
    this.#seen = new Map(buckets.map(one => [one.bucket, one]))
    const moved = (at: number): number => at === 0 ? 0 : at - this.#offset
    for (const one of buckets) this.#mirror.learn(this.upstream, one.bucket, one.learnedOrg, moved(one.closedUntilMs), moved(one.closedAnonymousUntilMs))
  }

  #seenOf (call: LimitCall): number {
    return this.#seen.get(call.plan.bucket)?.used ?? 0
  }

  #ask (call: LimitCall, resolve: (admission: Admission) => void): void {
    const id = ++this.#ids
    this.#batches.push(reserveStep(id, call, false, this.#seenOf(call)), (result, serverNow) => {
      const at = this.#options.clock()
      if (result === undefined) { resolve(this.#alone(call, at) as Admission); return }
      const { reserved, ...seen } = readReserved(result as Parameters<typeof readReserved>[0])
      ;(this.#seen as Map<string, Seen>).set(call.plan.bucket, seen)
      switch (reserved.kind) {
        case 'admitted': resolve(new SharedTicket(this, call, id, this.#mirror.hold(call, at), serverNow)); return
        case 'refused': resolve(refuse(reserved.by, reserved.untilMs - this.#offset, reserved.limit, serverNow - this.#offset)); return
        case 'wait': this.#wait(call, at, resolve); return
        case 'regroup': resolve(this.#alone(call, at) as Admission)
      }
    })
  }

  /** From this gate's share; told to the store when it listens. */
  #alone (call: LimitCall, now: number): Admission | Promise<Admission> {
    // A gate that has just come waits until the store is open; that is a matter of a second or two.
    if (this.#options.onStoreLoss === 'share' && this.#state === 'regroup' && this.#sharers === 0) return refuse('bucket', undefined, 0, now)
    if (this.#options.onStoreLoss === 'refuse' || this.#sharers === 0) return unknown(now)
    const id = ++this.#ids
    const admission = this.#mirror.reserve(call, now)
    const told = (one: Admission): Admission => {
      if (one.kind === 'admitted' && this.#live) this.#batches.push(reserveStep(id, call, true, this.#seenOf(call)))
      return adopt(this, call, id, one, now + this.#offset)
    }
    return admission instanceof Promise ? admission.then(told) : told(admission)
  }

  /** Until the bucket's first answer has come, through whichever gate. */
  #wait (call: LimitCall, now: number, resolve: (admission: Admission) => void): void {
    const { bucket } = call.plan
    let waiting = this.#waiting.get(bucket)
    if (waiting === undefined) this.#waiting.set(bucket, waiting = new Set())
    if (waiting.size >= PROBE_QUEUE) { resolve(refuse('concurrency', undefined, 1, now)); return }
    const one: Waiting = { call, resolve, asked: false }
    waiting.add(one)
    this.#options.later(PROBE_WAIT_MS, later => { if (this.#drop(one)) resolve(refuse('concurrency', undefined, 1, later)) })
  }

  #drop (one: Waiting): boolean {
    const waiting = this.#waiting.get(one.call.plan.bucket)
    if (waiting?.delete(one) !== true) return false
    if (waiting.size === 0) this.#waiting.delete(one.call.plan.bucket)
    return true
  }

  #pumpAfter (call: LimitCall): Answer {
    return () => { if (this.#waiting.has(call.plan.bucket)) this.#pump(call.plan.bucket, this.#options.clock()) }
  }

  /** Asks again for what waits, in order. */
  #pump (bucket: string, now: number): void {
    for (const one of this.#waiting.get(bucket) ?? []) {
      if (one.asked) continue
      if (one.call.signal?.aborted === true) { if (this.#drop(one)) one.resolve(refuse('concurrency', undefined, 1, now)); continue }
      if (this.#state !== 'open') { if (this.#drop(one)) one.resolve(this.#alone(one.call, now) as Admission); continue }
      this.#again(one)
    }
  }

  #again (one: Waiting): void {
    one.asked = true
    const id = ++this.#ids
    this.#batches.push(reserveStep(id, one.call, false, this.#seenOf(one.call)), (result, serverNow) => {
      one.asked = false
      const at = this.#options.clock()
      const reserved = result === undefined ? undefined : readReserved(result as Parameters<typeof readReserved>[0]).reserved
      if (reserved?.kind === 'wait') return
      const left = !this.#drop(one)
      if (reserved?.kind === 'admitted') {
        const ticket = new SharedTicket(this, one.call, id, this.#mirror.hold(one.call, at), serverNow)
        if (!left) { one.resolve(ticket); return }
        // It had waited too long meanwhile.
        this.#mirror.cancel(ticket.own, at)
        this.cancel(ticket)
        this.release()
        return
      }
      if (left) return
      one.resolve(reserved?.kind === 'refused' ? refuse(reserved.by, reserved.untilMs - this.#offset, reserved.limit, serverNow - this.#offset) : this.#alone(one.call, at) as Admission)
    })
  }

  async #send (steps: readonly Step[], sentAt: number): Promise<string> {
    const { virtual, timeoutMs, gate, line } = this.#options
    const [now, deadline] = virtual === true ? [String(sentAt), ''] : ['', String(Math.ceil(sentAt + this.#offset + timeoutMs))]
    const batch = ++this.#sentBatches
    this.#sent.push({ batch, at: sentAt })
    if (this.#sent.length > SENT_MOST) this.#sent.shift()
    return await line.run(this.upstream, [gate, String(this.#incarnation), now, deadline, JSON.stringify(steps), String(batch), String(this.#gates)])
  }

  #heard (state: string, sentAt: number): boolean {
    const now = this.#options.clock()
    if (state === 'late' || state === 'unknown') {
      this.#lose(now, new Error(state === 'late' ? 'the store was reached too late' : 'the store does not know this gate any more'))
      return false
    }
    this.#answeredAt = sentAt
    while (this.#sent.length > 0 && this.#sent[0]!.at <= sentAt) this.#sent.shift()
    if (state === 'open' && this.#state !== 'open') {
      this.#state = 'open'
      this.#opened = true
      this.#mirror.narrow(this.upstream, undefined, new Map(), now)
    } else if (state === 'regroup' && this.#state !== 'regroup') {
      if (this.#state !== 'lost') this.#narrow(now)
      this.#state = 'regroup'
    }
    return true
  }

  /** The store does not answer, or has forgotten this gate: from here on by this gate's share. */
  #lose (now: number, error: unknown): void {
    const had = this.#state
    const why = error instanceof Error ? error.message : String(error)
    const other = why !== this.#why
    this.#why = why
    this.#live = false
    this.#incarnation++
    this.#state = 'lost'
    if (had === 'open' || had === 'new') {
      this.#lostSince ??= now
      this.#losses++
      this.#narrow(now)
      this.#options.note({ kind: 'lost', upstream: this.upstream, why, replicas: this.#sharers })
    } else {
      if (had === 'regroup') this.#lostSince ??= now
      if (other) this.#options.note({ kind: 'still', upstream: this.upstream, why })
    }
    this.#beating = false
    this.#batches.fail()
    for (const bucket of [...this.#waiting.keys()]) this.#pump(bucket, now)
  }

  #narrow (now: number): void {
    this.#sharers = this.#replicas
    const loss: Loss = { at: now, replicas: Math.max(1, this.#sharers), longestCallMs: this.#options.longestCallMs, unseen: !this.#opened }
    this.#mirror.narrow(this.upstream, loss, this.#opened ? this.#seen : new Map(), now)
  }
}
