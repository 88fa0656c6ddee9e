import { Counter, Gauge, Registry, collectDefaultMetrics, type Metric } from 'prom-client'
import { Durations } from './durations.js'
import type { GateExchange } from './stages.js'
import { outcomeOf } from './record.js'

/** Seconds. Fine where the gate itself lives, coarse where Okta does (recorded p50 1.1 s, p99 2.7 s, worst 31 s). */
const GATE_SECONDS = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5]
const OKTA_SECONDS = [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60]

/** A gauge's values, read when somebody scrapes. */
export interface GaugeSource {
  readonly name: string
  readonly help: string
  readonly labels: readonly string[]
  readonly read: () => Iterable<readonly [Readonly<Record<string, string>>, number]> | Promise<Iterable<readonly [Readonly<Record<string, string>>, number]>>
}

/**
 * Prometheus metrics of the client listener. Requests are tallied in plain maps and handed to
 * prom-client when scraped: its label look-up costs more than the decision itself.
 */
export class Metrics {
  readonly registry = new Registry()
  readonly #tally = new Map<string, Map<string, Count[]>>()
  readonly #gate: Durations
  readonly #okta: Durations

  constructor () {
    const registers = [this.registry]
    collectDefaultMetrics({ register: this.registry, prefix: 'narrowgate_' })
    this.#gate = new Durations('narrowgate_gate_seconds', 'Time that the gate itself added to an answered request', GATE_SECONDS)
    this.#okta = new Durations('narrowgate_okta_seconds', 'Time from sending a call to the headers of its answer', OKTA_SECONDS)
    for (const durations of [this.#gate, this.#okta]) this.registry.registerMetric(durations as unknown as Metric)
    const tally = this.#tally
    const requests: Counter = new Counter({
      name: 'narrowgate_requests_total',
      help: 'Requests by client, operation and decision',
      labelNames: ['client', 'operation', 'decision', 'reason'],
      registers,
      collect () { requests.reset(); for (const entry of rows(tally)) requests.inc(...entry) }
    })
  }

  /** Counts a finished exchange. */
  count (exchange: GateExchange): void {
    const client = exchange.client?.id ?? ''
    const operation = exchange.operation?.id ?? ''
    let operations = this.#tally.get(client)
    if (operations === undefined) this.#tally.set(client, operations = new Map())
    let counts = operations.get(operation)
    if (counts === undefined) operations.set(operation, counts = [])
    const decision = exchange.wouldDeny === undefined ? outcomeOf(exchange) : 'would_deny'
    const reason = exchange.rejection?.code ?? exchange.wouldDeny ?? ''
    const count = counts.find(one => one.decision === decision && one.reason === reason)
    if (count === undefined) counts.push({ decision, reason, requests: 1 })
    else count.requests++
    if (exchange.upstreamMs === undefined) return
    this.#okta.observe(exchange.upstreamMs / 1000)
    if (exchange.gateMs !== undefined) this.#gate.observe(exchange.gateMs / 1000)
  }

  /** Registers a gauge whose values are read at each scrape. */
  gauge (source: GaugeSource): void {
    const gauge: Gauge = new Gauge({
      name: source.name,
      help: source.help,
      labelNames: [...source.labels],
      registers: [this.registry],
      async collect () { const rows = await source.read(); gauge.reset(); for (const [labels, value] of rows) gauge.set(labels, value) }
    })
  }
}

/** Of one client and operation. */
interface Count { readonly decision: string, readonly reason: string, requests: number }

function * rows (tally: ReadonlyMap<string, ReadonlyMap<string, readonly Count[]>>): Iterable<[Record<string, string>, number]> {
  for (const [client, operations] of tally) {
    for (const [operation, counts] of operations) {
      for (const { decision, reason, requests } of counts) yield [{ client, operation, decision, reason }, requests]
    }
  }
}
