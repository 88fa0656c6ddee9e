import { AggregatorRegistry } from 'prom-client'

/** A metric as prom-client writes it for other processes. */
export interface MetricJson {
  readonly name: string
  readonly type: string
  readonly aggregator?: string
  readonly values: ReadonlyArray<{ readonly value: number | null }>
}

/**
 * How the values of several processes make one, where adding them up says nothing: the worst of them, or the one number
 * that all of them know. Whatever is not named here is added up.
 */
export const ACROSS: Readonly<Record<string, 'min' | 'max' | 'sum'>> = {
  narrowgate_bucket_allowance: 'max',
  narrowgate_bucket_used: 'max',
  narrowgate_bucket_org_limit: 'max',
  narrowgate_bucket_closed: 'max',
  narrowgate_okta_429: 'max',
  narrowgate_rate_header_nonsense: 'max',
  narrowgate_in_flight: 'max',
  narrowgate_bucket_waiting: 'sum',
  narrowgate_waited: 'sum',
  narrowgate_waited_seconds: 'sum',
  narrowgate_limit_store_shared: 'min',
  narrowgate_limit_store_losses: 'max',
  narrowgate_limit_store_replicas: 'max',
  narrowgate_credential_available: 'min',
  narrowgate_credential_position: 'max',
  narrowgate_credential_scopes_refused: 'max',
  narrowgate_credential_alarms: 'sum',
  narrowgate_upstream_breaker_open: 'max',
  narrowgate_credential_age_seconds: 'max',
  narrowgate_credential_expires_timestamp_seconds: 'min',
  narrowgate_expires_timestamp_seconds: 'min',
  narrowgate_snapshot_timestamp_seconds: 'min',
  narrowgate_snapshot_clients: 'max',
  narrowgate_reloads: 'max',
  narrowgate_audit_healthy: 'min',
  narrowgate_audit_collector_up: 'min',
  narrowgate_audit_events: 'sum',
  narrowgate_replay_store_up: 'min',
  narrowgate_replay_store_unanswered: 'sum',
  narrowgate_secret_store_good: 'min',
  narrowgate_secret_age_seconds: 'max',
  narrowgate_telemetry_up: 'min',
  narrowgate_telemetry_spans: 'sum',
  narrowgate_key_last_used_timestamp_seconds: 'max',
  narrowgate_key_outside_network: 'sum',
  narrowgate_workers: 'sum',
  narrowgate_worker_restarts: 'sum'
}

/** The metrics of several processes as if they were one's. */
export function addUp (all: ReadonlyArray<readonly MetricJson[]>): readonly MetricJson[] {
  const decided = all.map(metrics => metrics.filter(({ values }) => Array.isArray(values)).map(metric => ({
    ...metric,
    aggregator: ACROSS[metric.name] ?? metric.aggregator ?? 'sum',
    // What JSON can't carry (an event loop lag of nobody) is no value.
    values: metric.values.filter(({ value }) => value !== null && !Number.isNaN(value))
  })))
  return AggregatorRegistry.aggregate(decided).getMetricsAsArray().map(metric => (metric as unknown as { get: () => MetricJson }).get())
}

/** The text of a scrape. */
export async function textOf (metrics: readonly MetricJson[]): Promise<string> {
  return await AggregatorRegistry.aggregate([metrics] as unknown as object[][]).metrics()
}

/** Counters and histograms of a process that is gone, added to those of others before it. */
export function addCounters (past: readonly MetricJson[], of: readonly MetricJson[]): readonly MetricJson[] {
  const counters = of.filter(({ type }) => type === 'counter' || type === 'histogram')
  return counters.length === 0 ? past : addUp([past, counters])
}
