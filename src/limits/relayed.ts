import { refuse } from './bucket.js'
import type { Observation } from './headers.js'
import { PROBE_WAIT_MS, type Later } from './probe.js'
import { shapeOf, teach, type RelayAnswer, type RelayStep } from './relay-wire.js'
import type { Admission, BucketPlan, LimitCall, LimitStore, Ticket, UpstreamView } from './store.js'

/** How long the primary may take to say anything about a call. It answers within a turn of its event loop. */
export const RELAY_TIMEOUT_MS = 1000

/** How often what is asked for is looked at: has its time run out, has its client left. */
const LOOK_MS = 200

/** Beyond this many shapes the table begins anew: reloads bring new ones, and nobody says when the old ones end. */
const MOST_SHAPES = 20_000

export interface RelayOptions {
  /** hands a step on, in order; steps of one turn of the event loop travel together */
  readonly push: (step: RelayStep) => void
  readonly later: Later
  /** epoch ms of this worker's steady clock */
  readonly clock: () => number
}

interface Asked {
  readonly call: LimitCall
  readonly resolve: (admission: Admission) => void
  untilMs: number
  /** its time had run out at the last look, but the answer may lie in the socket */
  late: boolean
  /** the primary knows that the client has left */
  told: boolean
}

class RelayedTicket implements Ticket {
  readonly kind = 'admitted'
  settled = false
  released = false

  constructor (readonly store: RelayedStore, readonly id: number) {}

  get ticket (): Ticket {
    return this
  }
}

/**
 * The limit store of a worker process: the primary holds the budgets of all workers, on its own clock. No answer in
 * time is a refusal.
 */
export class RelayedStore implements LimitStore {
  readonly #options: RelayOptions
  #shapes = new WeakMap<BucketPlan, Map<string, number>>()
  #shapeCount = 0
  #shapeIds = 0
  #ids = 0
  readonly #asked = new Map<number, Asked>()
  readonly #views = new Map<number, (views: readonly UpstreamView[]) => void>()
  #looking = false
  #now = 0
  /** nothing is heard of the primary any more: until then it is not asked again */
  #silentUntilMs = 0

  constructor (options: RelayOptions) {
    this.#options = options
  }

  reserve (call: LimitCall, now: number): Admission | Promise<Admission> {
    const at = this.#tick(this.#options.clock())
    if (at < this.#silentUntilMs) return refuse('store', undefined, 0, now)
    const id = ++this.#ids
    return new Promise(resolve => {
      this.#asked.set(id, { call, resolve, untilMs: at + RELAY_TIMEOUT_MS, late: false, told: false })
      this.#lookLater()
      const step = ['reserve', id, this.#shape(call), call.user ?? null, call.waitMs ?? null] as const
      this.#options.push(call.again === true ? [...step, 1] : step)
    })
  }

  settle (ticket: Ticket, observation: Observation | undefined, now: number): void {
    const held = this.#own(ticket)
    if (held.settled) return
    held.settled = true
    this.#options.push(['settle', held.id, teach(observation, this.#tick(now))])
  }

  release (ticket: Ticket): void {
    const held = this.#own(ticket)
    if (held.released) return
    held.settled = held.released = true
    this.#options.push(['release', held.id])
  }

  cancel (ticket: Ticket): void {
    const held = this.#own(ticket)
    if (held.settled) { this.release(held); return }
    held.settled = held.released = true
    this.#options.push(['cancel', held.id])
  }

  /** Times in it are on the primary's clock. */
  snapshot (): Promise<readonly UpstreamView[]> {
    const id = ++this.#ids
    return new Promise(resolve => {
      this.#views.set(id, resolve)
      this.#options.push(['view', id])
    })
  }

  async close (now: number): Promise<void> {
    for (const [id, one] of this.#asked) this.#giveUp(id, one, refuse('concurrency', undefined, 1, now))
  }

  /** What the primary says. */
  hear (answer: RelayAnswer): void {
    this.#silentUntilMs = 0
    const [kind, id] = answer
    if (kind === 'viewed') {
      this.#views.get(id)?.(answer[2])
      this.#views.delete(id)
      return
    }
    const one = this.#asked.get(id)
    if (one === undefined) {
      // It had been given up meanwhile, and was not sent.
      if (kind === 'admitted') this.#options.push(['cancel', id])
      return
    }
    const now = this.#tick(this.#options.clock())
    if (kind === 'waits') {
      one.untilMs = now + Math.max(PROBE_WAIT_MS, one.call.waitMs ?? 0) + RELAY_TIMEOUT_MS
      one.late = false
      return
    }
    this.#asked.delete(id)
    if (kind === 'refused') one.resolve(refuse(answer[2], now + answer[3], answer[4], now))
    else if (one.call.signal?.aborted === true) {
      this.#options.push(['cancel', id])
      one.resolve(refuse('concurrency', undefined, 1, now))
    } else one.resolve(new RelayedTicket(this, id))
  }

  #own (ticket: Ticket): RelayedTicket {
    if (!(ticket instanceof RelayedTicket) || ticket.store !== this) throw new Error('the ticket belongs to another store')
    return ticket
  }

  #shape (call: LimitCall): number {
    const { plan, credential, client, share, rule, floor, level } = call
    let known = this.#shapes.get(plan)
    if (known === undefined) this.#shapes.set(plan, known = new Map())
    const key = `${client}\n${rule === undefined ? '' : `${rule.id}\n${rule.perMinute}`}\n${credential}\n${share}\n${floor ?? ''}\n${level ?? ''}`
    const found = known.get(key)
    if (found !== undefined) return found
    if (this.#shapeCount >= MOST_SHAPES) {
      this.#shapes = new WeakMap([[plan, known = new Map()]])
      this.#shapeCount = 0
      this.#options.push(['forget'])
    }
    const id = ++this.#shapeIds
    this.#shapeCount++
    known.set(key, id)
    this.#options.push(['define', id, shapeOf(call)])
    return id
  }

  #lookLater (): void {
    if (this.#looking) return
    this.#looking = true
    this.#options.later(LOOK_MS, now => {
      this.#looking = false
      this.#look(this.#tick(now))
      if (this.#asked.size > 0) this.#lookLater()
    })
  }

  #look (now: number): void {
    for (const [id, one] of this.#asked) {
      if (!one.told && one.call.signal?.aborted === true) {
        one.told = true
        this.#options.push(['left', id])
      }
      if (now < one.untilMs) continue
      if (!one.late) { one.late = true; continue }
      this.#silentUntilMs = now + RELAY_TIMEOUT_MS
      this.#giveUp(id, one, refuse('store', undefined, 0, now))
    }
  }

  /** A clock that went back is held, as in every store. */
  #tick (now: number): number {
    if (now > this.#now) this.#now = now
    return this.#now
  }

  #giveUp (id: number, { resolve }: Asked, admission: Admission): void {
    this.#asked.delete(id)
    this.#options.push(['left', id])
    resolve(admission)
  }
}
