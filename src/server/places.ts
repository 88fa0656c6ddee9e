/** How many calls of one client may wait for a place in flight. */
const WAITING_MOST = 1000

/** How often a call that waits looks whether its client has left. */
const LOOK_MS = 200

/** Whoever waits; `left` is looked at, so an answer's own state fits. */
export interface Patience {
  /** until when, on the clock of the places */
  readonly untilMs: number
  readonly left: () => boolean
}

interface Waiter extends Patience {
  readonly since: number
  readonly resolve: (taken: boolean) => void
}

interface Client {
  taken: number
  readonly waiting: Waiter[]
}

/** How calls have waited for a place, since the start. */
export interface PlaceWaits {
  readonly count: number
  readonly admitted: number
  readonly left: number
  readonly sumMs: number
}

/**
 * Calls in flight, by client, of each at most so many: whose calls hang, or who reads slowly, leaves the rest to others.
 * A call that may wait gets its client's next place, in order of arrival.
 */
export class Places {
  readonly #clients = new Map<string, Client>()
  readonly #clock: () => number
  readonly #later: (run: () => void, ms: number) => void
  #count = 0
  #admitted = 0
  #left = 0
  #sumMs = 0

  constructor (clock: () => number, later: (run: () => void, ms: number) => void) {
    this.#clock = clock
    this.#later = later
  }

  get waits (): PlaceWaits {
    return { count: this.#count, admitted: this.#admitted, left: this.#left, sumMs: this.#sumMs }
  }

  /** Takes a place, if there is one that nobody waits for. */
  take (who: string, most: number): boolean {
    const client = this.#clients.get(who)
    if (client === undefined) { this.#clients.set(who, { taken: 1, waiting: [] }); return true }
    if (client.taken >= most || client.waiting.length > 0) return false
    client.taken++
    return true
  }

  /** Waits for a place after `take` has found none. @returns true: it is taken */
  async wait (who: string, patience: Patience): Promise<boolean> {
    const client = this.#clients.get(who)
    const since = this.#clock()
    if (client === undefined) return this.take(who, 1)
    if (client.waiting.length >= WAITING_MOST || patience.untilMs <= since) return false
    return await new Promise(resolve => {
      client.waiting.push({ ...patience, since, resolve })
      if (client.waiting.length === 1) this.#watch(client)
    })
  }

  giveBack (who: string): void {
    const client = this.#clients.get(who)!
    this.#dismiss(client)
    const next = client.waiting.shift()
    if (next !== undefined) this.#end(next, true)
    else if (--client.taken === 0) this.#clients.delete(who)
  }

  #watch (client: Client): void {
    const now = this.#clock()
    const soonest = client.waiting.reduce((least, one) => Math.min(least, one.untilMs), now + LOOK_MS)
    this.#later(() => {
      this.#dismiss(client)
      if (client.waiting.length > 0) this.#watch(client)
    }, Math.max(1, Math.ceil(soonest - now)))
  }

  #dismiss (client: Client): void {
    const now = this.#clock()
    const over = client.waiting.filter(one => one.left() || one.untilMs <= now)
    if (over.length === 0) return
    client.waiting.splice(0, Infinity, ...client.waiting.filter(one => !over.includes(one)))
    for (const one of over) this.#end(one, false)
  }

  #end (waiter: Waiter, taken: boolean): void {
    this.#count++
    this.#sumMs += this.#clock() - waiter.since
    if (taken) this.#admitted++
    else if (waiter.left()) this.#left++
    waiter.resolve(taken)
  }
}
