import type { MakePayload } from './payloads.js'
import { nanoseconds, otlpResource } from './spans.js'
import { quote } from './text.js'

/** A metric as prom-client's registry gives it. */
export interface RegistryMetric {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly values: readonly RegistryValue[]
}

interface RegistryValue {
  readonly value: number
  readonly labels: Readonly<Record<string, string | number | undefined>>
  readonly metricName?: string
}

type Json = Readonly<Record<string, unknown>>

/** OTLP's AGGREGATION_TEMPORALITY_CUMULATIVE (opentelemetry-proto, metrics/v1). */
const CUMULATIVE = 2

/**
 * The metrics of the registry in OTLP's JSON encoding, under their Prometheus names: counters as monotonic sums,
 * histograms as such, all else as gauges. Summaries, of which the gate has none, are left out.
 *
 * @param since epoch milliseconds at which the counts began
 */
export function metricsJson (metrics: readonly RegistryMetric[], since: number, now: number): string {
  const times = { startTimeUnixNano: nanoseconds(since), timeUnixNano: nanoseconds(now) }
  return JSON.stringify(metrics.flatMap(({ name, help, type, values }): Json[] => {
    if (values.length === 0) return []
    const about = { name, description: help, unit: name.includes('_seconds') ? 's' : name.endsWith('_bytes') ? 'By' : '1' }
    switch (type) {
      case 'counter': return [{ ...about, sum: { aggregationTemporality: CUMULATIVE, isMonotonic: true, dataPoints: values.map(value => ({ ...point(value), ...times })) } }]
      case 'gauge': return [{ ...about, gauge: { dataPoints: values.map(value => ({ ...point(value), timeUnixNano: times.timeUnixNano })) } }]
      case 'histogram': return [{ ...about, histogram: { aggregationTemporality: CUMULATIVE, dataPoints: histograms(name, values).map(value => ({ ...value, ...times })) } }]
      default: return []
    }
  }))
}

function point ({ labels, value }: RegistryValue): Json {
  return { attributes: attributes(labels), asDouble: value }
}

function attributes (labels: RegistryValue['labels']): Json[] {
  return Object.entries(labels).flatMap(([key, value]) => key === 'le' || value === undefined ? [] : [{ key, value: { stringValue: String(value) } }])
}

/** Prometheus counts up from bucket to bucket; OTLP wants each bucket's own. */
function histograms (name: string, values: readonly RegistryValue[]): Json[] {
  const series = new Map<string, RegistryValue[]>()
  for (const value of values) {
    const key = JSON.stringify(attributes(value.labels))
    const known = series.get(key)
    if (known === undefined) series.set(key, [value])
    else known.push(value)
  }
  return [...series.values()].map(all => {
    const buckets = all.filter(({ metricName }) => metricName === `${name}_bucket`)
    const of = (suffix: string): number => all.find(({ metricName }) => metricName === `${name}_${suffix}`)?.value ?? 0
    return {
      attributes: attributes(all[0]!.labels),
      count: String(of('count')),
      sum: of('sum'),
      explicitBounds: buckets.slice(0, -1).map(({ labels }) => Number(labels['le'])),
      bucketCounts: buckets.map(({ value }, i) => String(value - (buckets[i - 1]?.value ?? 0)))
    }
  })
}

/** OTLP metrics over HTTP as JSON (`/v1/metrics`); the one line is what metricsJson has made. */
export function metricsPayload (authorization: (() => string) | undefined, gate: string, version: string, instance: string): MakePayload {
  const head = `{"resourceMetrics":[{"resource":${otlpResource(gate, version, instance)},"scopeMetrics":[{"scope":{"name":"narrowgate","version":${quote(version)}},"metrics":`
  return ([metrics]) => ({
    body: `${head}${metrics ?? '[]'}}]}]}`,
    headers: { 'content-type': 'application/json', ...authorization === undefined ? {} : { authorization: authorization() } }
  })
}
