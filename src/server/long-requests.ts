import type { AuditEvent } from '../domain/event.js'
import { toEvent } from './record.js'
import type { GateExchange } from './stages.js'

/** A request that runs longer leaves an event of its own, before its end. */
const LONG_MS = 60_000
const SWEEP_MS = 5_000

/**
 * The requests that are on the road, for those that stay there long. In an array, each knowing its place: a Set makes
 * itself a new table every hundred requests or so, and each old one, dead but not yet collected, would keep those that
 * were on the road then, with all that belongs to them, until the next large collection.
 */
export class LongRequests {
  readonly #open: GateExchange[] = []
  readonly #noted = new WeakSet<GateExchange>()
  #timer: NodeJS.Timeout | undefined

  get count (): number { return this.#open.length }

  begin (exchange: GateExchange): void { exchange.place = this.#open.push(exchange) - 1 }

  end (exchange: GateExchange): void {
    const { place } = exchange
    if (place < 0) return
    exchange.place = -1
    const last = this.#open.pop()!
    if (last === exchange) return
    this.#open[place] = last
    last.place = place
  }

  /** @param clock monotonic milliseconds */
  sweep (clock: number, record: (event: AuditEvent) => void): void {
    for (const exchange of this.#open) {
      if (clock - exchange.clock < LONG_MS || this.#noted.has(exchange)) continue
      this.#noted.add(exchange)
      record(toEvent(exchange, clock, 'open'))
    }
  }

  start (clock: () => number, record: (event: AuditEvent) => void): void {
    this.#timer = setInterval(() => { this.sweep(clock(), record) }, SWEEP_MS).unref()
  }

  stop (): void { clearInterval(this.#timer) }
}
