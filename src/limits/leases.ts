import type { LimitCall } from './store.js'

/** How long a slot may lie with a worker before it goes back unused, milliseconds. */
export const LEASE_MS = 500

/** The time that a lease is meant to last, milliseconds: as many slots as calls came in one. */
const PACE_MS = 250

/** Below so many calls in PACE_MS each is asked for by itself. */
const LEAST = 2
const MOST = 128

/** When Okta says that a bucket has fewer calls left, nothing of it is leased: others use it, and may use it up at any time. */
export const LOW = 100

/** How long after a refused lease none is asked for. */
const AGAIN_MS = 50

/** A shape of which nothing is heard for so long is forgotten. */
const IDLE_MS = 10_000

/** Where leased slots count. */
export interface LeaseScope {
  /** absent: all */
  readonly upstream?: string
  readonly bucket?: string
  readonly client?: string
}

interface Lease extends Required<LeaseScope> {
  /** in the order in which they came */
  free: Array<{ readonly id: number, readonly untilMs: number }>
  asked: boolean
  againMs: number
  /** calls of late: each fades within PACE_MS */
  pace: number
  paceAt: number
}

export interface LeasesOptions {
  /** asks the primary for slots for calls of that shape */
  readonly ask: (shape: number, count: number) => void
  /** a slot was not used */
  readonly giveBack: (id: number) => void
}

/**
 * Slots that the primary has reserved for calls which a worker expects: each is a reservation like any other, made before
 * its call comes. So what is leased and what is used together never exceed a budget; and while a budget has little left,
 * the primary leases nothing (`room` in bucket.ts).
 */
export class Leases {
  readonly #options: LeasesOptions
  readonly #shapes = new Map<number, Lease>()
  #free = 0

  constructor (options: LeasesOptions) { this.#options = options }

  /** Some lie here, and have to be looked at with `expire`. */
  get any (): boolean { return this.#free > 0 }

  /** A slot for a call of that shape; undefined: none lies here. */
  take (shape: number, call: LimitCall, now: number): number | undefined {
    const lease = this.#lease(shape, call, now)
    lease.pace = lease.pace * Math.exp((lease.paceAt - now) / PACE_MS) + 1
    lease.paceAt = now
    const want = Math.min(MOST, Math.floor(lease.pace))
    if (want >= LEAST && !lease.asked && lease.free.length * 2 <= want && now >= lease.againMs) {
      lease.asked = true
      this.#options.ask(shape, want - lease.free.length)
    }
    const slot = lease.free.shift()
    if (slot === undefined) return undefined
    this.#free--
    return slot.id
  }

  /** What the primary has answered. */
  granted (shape: number, first: number, count: number, now: number): void {
    const lease = this.#shapes.get(shape)
    if (lease === undefined) {
      for (let i = 0; i < count; i++) this.#options.giveBack(first + i)
      return
    }
    lease.asked = false
    if (count === 0) lease.againMs = now + AGAIN_MS
    for (let i = 0; i < count; i++) lease.free.push({ id: first + i, untilMs: now + LEASE_MS })
    this.#free += count
  }

  /** Gives back what has lain here for too long. */
  expire (now: number): void {
    for (const [shape, lease] of this.#shapes) {
      while (lease.free.length > 0 && lease.free[0]!.untilMs <= now) this.#return(lease)
      if (now - lease.paceAt > IDLE_MS && !lease.asked && lease.free.length === 0) this.#shapes.delete(shape)
    }
  }

  /** Gives back whatever lies here and counts there. */
  recall ({ upstream, bucket, client }: LeaseScope): void {
    if (this.#free === 0) return
    for (const lease of this.#shapes.values()) {
      if ((upstream !== undefined && lease.upstream !== upstream) || (bucket !== undefined && lease.bucket !== bucket) || (client !== undefined && lease.client !== client)) continue
      while (lease.free.length > 0) this.#return(lease)
    }
  }

  /** Gives everything back; shapes begin anew. */
  clear (): void {
    for (const lease of this.#shapes.values()) while (lease.free.length > 0) this.#return(lease)
    this.#shapes.clear()
  }

  #return (lease: Lease): void {
    this.#free--
    this.#options.giveBack(lease.free.shift()!.id)
  }

  #lease (shape: number, { plan, client }: LimitCall, now: number): Lease {
    let lease = this.#shapes.get(shape)
    if (lease === undefined) {
      lease = { upstream: plan.upstream, bucket: plan.bucket, client, free: [], asked: false, againMs: 0, pace: 0, paceAt: now }
      this.#shapes.set(shape, lease)
    }
    return lease
  }
}
