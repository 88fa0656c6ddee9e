import type { AuditEvent } from '../domain/event.js'
import { toEvent } from './record.js'
import type { GateExchange } from './stages.js'

/** A request that runs longer leaves an event of its own, before its end. */
const LONG_MS = 60_000
const SWEEP_MS = 5_000

/** The requests that are on the road, for those that stay there long. */
export class LongRequests {
  readonly #open = new Set<GateExchange>()
  readonly #noted = new WeakSet<GateExchange>()
  #timer: NodeJS.Timeout | undefined

  get count (): number { return this.#open.size }

  begin (exchange: GateExchange): void { this.#open.add(exchange) }

  end (exchange: GateExchange): void { this.#open.delete(exchange) }

  /** @param clock monotonic milliseconds */
  sweep (clock: number, record: (event: AuditEvent) => void): void {
    for (const exchange of this.#open) {
      // A set keeps the order in which they came: what follows is younger.
      if (clock - exchange.clock < LONG_MS) return
      if (this.#noted.has(exchange)) continue
      this.#noted.add(exchange)
      record({ ...toEvent(exchange, clock), phase: 'open', outcome: 'pending' })
    }
  }

  start (clock: () => number, record: (event: AuditEvent) => void): void {
    this.#timer = setInterval(() => { this.sweep(clock(), record) }, SWEEP_MS).unref()
  }

  stop (): void { clearInterval(this.#timer) }
}
