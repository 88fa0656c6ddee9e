import { refuse } from './bucket.js'
import type { Observation } from './headers.js'
import { LEASE_MS, Leases, LOW } from './leases.js'
import { PROBE_WAIT_MS, type Later } from './probe.js'
import { shapeOf, teach, type RelayAnswer, type RelayStep, type Taught } from './relay-wire.js'
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
  /** slots are leased, and what nobody waits for is told up to LAZY_MS late; absent: everything is asked for and told at once */
  readonly lazy?: boolean
}

/** How late the primary may hear that a call is over, milliseconds: many of them travel together. */
const LAZY_MS = 5
/** More than so many travel at once. */
const MOST_LAZY = 128

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

  /** what tells of its answer, while that has not gone */
  told: ['settle' | 'done', number, Taught] | undefined

  constructor (readonly store: RelayedStore, readonly id: number, readonly plan: BucketPlan) {}

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

  readonly #leases: Leases | undefined
  /** steps that nobody waits for, in order */
  #idle: RelayStep[] = []
  #expiring = false

  constructor (options: RelayOptions) {
    this.#options = options
    if (options.lazy !== true) return
    this.#leases = new Leases({
      ask: (shape, count) => {
        const first = this.#ids + 1
        this.#ids += count
        this.#later(['lease', shape, first, count])
      },
      giveBack: id => { this.#later(['cancel', id]) }
    })
  }

  reserve (call: LimitCall, now: number): Admission | Promise<Admission> {
    const at = this.#tick(this.#options.clock())
    if (at < this.#silentUntilMs) return refuse('store', undefined, 0, now)
    const shape = this.#shape(call)
    const leased = call.user === undefined && call.again !== true && call.signal?.aborted !== true ? this.#leases?.take(shape, call, at) : undefined
    if (leased !== undefined) return new RelayedTicket(this, leased, call.plan)
    const id = ++this.#ids
    return new Promise(resolve => {
      this.#asked.set(id, { call, resolve, untilMs: at + RELAY_TIMEOUT_MS, late: false, told: false })
      this.#lookLater()
      const step = ['reserve', id, shape, call.user ?? null, call.waitMs ?? null] as const
      this.#push(call.again === true ? [...step, 1] : step)
    })
  }

  settle (ticket: Ticket, observation: Observation | undefined, now: number): void {
    const held = this.#own(ticket)
    if (held.settled) return
    held.settled = true
    held.told = ['settle', held.id, teach(observation, this.#tick(now))]
    const tooMany = observation?.tooMany === true
    if (this.#leases?.any === true && (tooMany || (observation?.kind === 'window' && observation.remaining < LOW))) {
      // What was leased before that was known is not good any more.
      this.#leases.recall(tooMany ? {} : held.plan)
      this.#flush()
    }
    // Of a 429 all workers have to know.
    if (tooMany) this.#push(held.told)
    else this.#later(held.told)
  }

  release (ticket: Ticket): void {
    const held = this.#own(ticket)
    if (held.released) return
    const { told } = held
    held.settled = held.released = true
    if (told !== undefined && this.#idle.includes(told)) told[0] = 'done'
    else this.#later(['release', held.id])
  }

  cancel (ticket: Ticket): void {
    const held = this.#own(ticket)
    if (held.settled) { this.release(held); return }
    held.settled = held.released = true
    this.#later(['cancel', held.id])
  }

  /** Times in it are on the primary's clock. */
  snapshot (): Promise<readonly UpstreamView[]> {
    const id = ++this.#ids
    this.#leases?.clear()
    return new Promise(resolve => {
      this.#views.set(id, resolve)
      this.#push(['view', id])
    })
  }

  async close (now: number): Promise<void> {
    this.#leases?.clear()
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
    const now = this.#tick(this.#options.clock())
    if (kind === 'leased') {
      this.#leases?.granted(id, answer[2], answer[3], now)
      this.#expireLater()
      return
    }
    if (kind === 'recall') {
      this.#leases?.recall({ upstream: answer[2] ?? undefined, bucket: answer[3] ?? undefined, client: answer[4] ?? undefined })
      this.#push(['recalled', id])
      return
    }
    const one = this.#asked.get(id)
    if (one === undefined) {
      // It had been given up meanwhile, and was not sent.
      if (kind === 'admitted') this.#push(['cancel', id])
      return
    }
    if (kind === 'waits') {
      one.untilMs = now + Math.max(PROBE_WAIT_MS, one.call.waitMs ?? 0) + RELAY_TIMEOUT_MS
      one.late = false
      return
    }
    this.#asked.delete(id)
    if (kind === 'refused') one.resolve(refuse(answer[2], now + answer[3], answer[4], now))
    else if (one.call.signal?.aborted === true) {
      this.#push(['cancel', id])
      one.resolve(refuse('concurrency', undefined, 1, now))
    } else one.resolve(new RelayedTicket(this, id, one.call.plan))
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
      this.#leases?.clear()
      this.#push(['forget'])
    }
    const id = ++this.#shapeIds
    this.#shapeCount++
    known.set(key, id)
    this.#push(['define', id, shapeOf(call)])
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
        this.#push(['left', id])
      }
      if (now < one.untilMs) continue
      if (!one.late) { one.late = true; continue }
      this.#silentUntilMs = now + RELAY_TIMEOUT_MS
      this.#giveUp(id, one, refuse('store', undefined, 0, now))
    }
  }

  /** Tells at once; what was to be told before goes before. */
  #push (step: RelayStep): void {
    this.#flush()
    this.#options.push(step)
  }

  /** Tells when something has to be told, or a little later. */
  #later (step: RelayStep): void {
    if (this.#leases === undefined) { this.#options.push(step); return }
    const count = this.#idle.push(step)
    if (count >= MOST_LAZY) this.#flush()
    else if (count === 1) this.#options.later(LAZY_MS, () => { this.#flush() })
  }

  #flush (): void {
    if (this.#idle.length === 0) return
    const steps = this.#idle
    this.#idle = []
    for (const step of steps) this.#options.push(step)
  }

  #expireLater (): void {
    if (this.#expiring || this.#leases?.any !== true) return
    this.#expiring = true
    this.#options.later(LEASE_MS / 2, now => {
      this.#expiring = false
      this.#leases!.expire(this.#tick(now))
      this.#expireLater()
    })
  }

  /** A clock that went back is held, as in every store. */
  #tick (now: number): number {
    if (now > this.#now) this.#now = now
    return this.#now
  }

  #giveUp (id: number, { resolve }: Asked, admission: Admission): void {
    this.#asked.delete(id)
    this.#push(['left', id])
    resolve(admission)
  }
}
