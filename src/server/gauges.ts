import type { AuditLog } from '../audit/log.js'
import type { SharedSeenOnce } from '../clients/seen-shared.js'
import type { SecretStores } from '../config/secret-stores.js'
import type { BucketView } from '../limits/store.js'
import type { KeyUses } from './key-use.js'
import type { Limits } from './limits.js'
import type { Expiry } from './expiries.js'
import type { Links } from './links.js'
import type { GaugeSource } from './metrics.js'
import type { Places } from './places.js'
import type { Snapshot } from './snapshot.js'
import type { Telemetry } from './telemetry.js'

/** Where the gauges look. */
export interface GaugePlaces {
  readonly limits: Limits
  readonly places: Places
  /** absent: used ids are kept in memory */
  readonly seen?: SharedSeenOnce
  readonly keys: KeyUses
  readonly links: Links
  readonly stores: SecretStores
  /** monotonic milliseconds */
  readonly clock: () => number
  readonly audit: AuditLog
  readonly telemetry?: Telemetry
  readonly snapshot: () => Snapshot
  readonly expiries: () => readonly Expiry[]
  readonly reloads: () => number
  readonly refusedReloads: () => number
  readonly steadyNow: () => number
}

type Row = readonly [Readonly<Record<string, string>>, number]

/** The gauges of a gate: limits, credentials, snapshot, audit. Values are read when somebody scrapes. */
export function gateGauges ({ limits, places, seen, keys, links, stores, clock, audit, telemetry, snapshot, expiries, reloads, refusedReloads, steadyNow }: GaugePlaces): GaugeSource[] {
  const buckets = async (value: (bucket: BucketView) => number): Promise<Row[]> => {
    const views = await limits.view(steadyNow())
    return views.flatMap(({ upstream, buckets }) => buckets.map((one): Row => [{ upstream, bucket: one.bucket }, value(one)]))
  }
  const credentials = function * (value: (status: ReturnType<ReturnType<typeof statusOf>['provider']['status']>) => number | undefined): Iterable<Row> {
    for (const { upstream, provider } of links.status()) {
      const status = provider.status()
      const found = value(status)
      if (found !== undefined) yield [{ upstream, credential: status.kind }, found]
    }
  }
  const perBucket = ['upstream', 'bucket']
  const perCredential = ['upstream', 'credential']
  return [
    { name: 'narrowgate_bucket_allowance', help: 'Calls of a rate limit bucket that the gate lets through in any 60 seconds', labels: perBucket, read: () => buckets(one => one.allowance) },
    { name: 'narrowgate_bucket_used', help: 'Calls of a bucket in the last 60 seconds, those in flight included', labels: perBucket, read: () => buckets(one => one.used) },
    { name: 'narrowgate_bucket_org_limit', help: 'The org\'s own limit of a bucket, calls per minute', labels: perBucket, read: () => buckets(one => one.org) },
    { name: 'narrowgate_bucket_closed', help: '1 while a bucket is held closed after a 429 of Okta', labels: perBucket, read: () => buckets(one => one.closedUntilMs === undefined ? 0 : 1) },
    { name: 'narrowgate_okta_429', help: 'Answers 429 that Okta gave, by bucket', labels: perBucket, read: () => buckets(one => one.tooMany) },
    { name: 'narrowgate_rate_header_nonsense', help: 'Answers whose rate limit headers made no sense and were ignored', labels: perBucket, read: () => buckets(one => one.nonsense) },
    { name: 'narrowgate_in_flight', help: 'Calls in flight to an upstream', labels: ['upstream'], read: async () => (await limits.view(steadyNow())).map(({ upstream, inFlight }): Row => [{ upstream }, inFlight]) },
    { name: 'narrowgate_bucket_waiting', help: 'Calls that wait for allowance, or for the first answer of a bucket', labels: perBucket, read: () => buckets(one => one.waiting) },
    { name: 'narrowgate_waited', help: 'Calls that have waited for allowance, by what became of them', labels: ['outcome'], read: () => waitRows([limits.waits, places.waits]) },
    { name: 'narrowgate_waited_seconds', help: 'How long calls have waited for allowance, added up', labels: [], read: () => [[{}, (limits.waits.sumMs + places.waits.sumMs) / 1000]] },
    { name: 'narrowgate_limit_store_shared', help: '1 while the shared limit store is in force, 0 while this gate goes by its share', labels: ['upstream'], read: () => limits.status.map(({ upstream, state }): Row => [{ upstream }, state === 'shared' ? 1 : 0]) },
    { name: 'narrowgate_limit_store_losses', help: 'How often the shared limit store was lost since the start', labels: ['upstream'], read: () => limits.status.map(({ upstream, losses }): Row => [{ upstream }, losses]) },
    { name: 'narrowgate_limit_store_replicas', help: 'Gates that share the limits, as last seen', labels: ['upstream'], read: () => limits.status.map(({ upstream, replicas }): Row => [{ upstream }, replicas]) },
    { name: 'narrowgate_replay_store_up', help: '1 while the shared store remembers used ids (jti)', labels: [], read: () => seen === undefined ? [] : [[{}, seen.status.lost ? 0 : 1]] },
    { name: 'narrowgate_replay_store_unanswered', help: 'How often the shared store did not say in time whether an id (jti) was used before', labels: [], read: () => seen === undefined ? [] : [[{}, seen.status.unanswered]] },
    { name: 'narrowgate_key_last_used_timestamp_seconds', help: 'When a key of a client was last used, since the start', labels: ['client', 'key', 'method'], read: () => [...keys.all].flatMap(({ client, keyId, method, usedAt }): Row[] => usedAt === undefined ? [] : [[{ client, key: keyId, method }, usedAt / 1000]]) },
    { name: 'narrowgate_key_outside_network', help: 'How often a valid key came from outside the networks of its policy, since the start', labels: ['client', 'key'], read: () => [...keys.all].flatMap(({ client, keyId, outside }): Row[] => outside === 0 ? [] : [[{ client, key: keyId }, outside]]) },
    { name: 'narrowgate_credential_available', help: '1 while a credential can be presented', labels: perCredential, read: () => credentials(status => status.available ? 1 : 0) },
    { name: 'narrowgate_credential_position', help: 'Which signing key or API token serves, counted from 1: more than 1 means that Okta refuses the first', labels: perCredential, read: () => credentials(status => status.position) },
    { name: 'narrowgate_credential_scopes_refused', help: 'OAuth scopes that rules need and Okta refuses', labels: perCredential, read: () => credentials(status => status.refusedScopes?.length ?? 0) },
    { name: 'narrowgate_credential_alarms', help: 'Alarms about credentials since the start', labels: ['upstream', 'kind'], read: () => [...links.alarms()].map(({ upstream, kind, count }): Row => [{ upstream, kind }, count]) },
    { name: 'narrowgate_secret_store_good', help: '1 while the last read of a secret that another service keeps went well; 0 while its last value stays in use', labels: ['store', 'secret'], read: () => [...stores.status()].map(({ store, name, good }): Row => [{ store, secret: name }, good ? 1 : 0]) },
    { name: 'narrowgate_secret_age_seconds', help: 'How long ago a secret that another service keeps was last read', labels: ['store', 'secret'], read: () => [...stores.status()].flatMap(({ store, name, readAt }): Row[] => readAt === undefined ? [] : [[{ store, secret: name }, (clock() - readAt) / 1000]]) },
    { name: 'narrowgate_upstream_breaker_open', help: '1 while calls to an upstream are refused because the way there is broken', labels: ['upstream'], read: () => [...links.status()].map(({ upstream, breakerOpen }): Row => [{ upstream }, breakerOpen ? 1 : 0]) },
    { name: 'narrowgate_credential_age_seconds', help: 'Age of the access token in use', labels: perCredential, read: () => credentials(status => status.ageMs === undefined ? undefined : status.ageMs / 1000) },
    { name: 'narrowgate_credential_expires_timestamp_seconds', help: 'When the credential ends: access token or exception', labels: perCredential, read: () => credentials(status => status.expiresAt === undefined ? undefined : status.expiresAt / 1000) },
    { name: 'narrowgate_expires_timestamp_seconds', help: 'When something ends: exceptions, certificates, policies, client keys', labels: ['what', 'name'], read: () => expiries().map(({ what, name, at }): Row => [{ what, name }, at / 1000]) },
    { name: 'narrowgate_snapshot_timestamp_seconds', help: 'When the snapshot in force was loaded', labels: [], read: () => [[{}, snapshot().loadedAt / 1000]] },
    { name: 'narrowgate_snapshot_clients', help: 'Clients of the snapshot in force', labels: [], read: () => [[{}, snapshot().policies.size]] },
    { name: 'narrowgate_reloads', help: 'Reloads by what became of them', labels: ['result'], read: () => [[{ result: 'swapped' }, reloads()], [{ result: 'refused' }, refusedReloads()]] },
    { name: 'narrowgate_audit_healthy', help: '1 while every audit sink takes lines', labels: [], read: () => [[{}, audit.healthy ? 1 : 0]] },
    { name: 'narrowgate_audit_collector_up', help: '1 while a remote sink\'s collector takes what it is sent', labels: ['sink'], read: () => audit.sinks.flatMap(({ name, rejected, collector }): Row[] => rejected === undefined ? [] : [[{ sink: name }, collector === undefined ? 1 : 0]]) },
    { name: 'narrowgate_audit_events', help: 'Audit events by what became of them', labels: ['sink', 'state'], read: () => auditRows(audit) },
    { name: 'narrowgate_telemetry_up', help: '1 while the OTLP collector takes what it is sent', labels: ['signal'], read: () => telemetry === undefined ? [] : upRows(telemetry) },
    { name: 'narrowgate_telemetry_spans', help: 'Spans by what became of them', labels: ['state'], read: () => telemetry === undefined ? [] : (['sent', 'waiting', 'dropped'] as const).map((state): Row => [{ state }, telemetry.status[state]]) }
  ]
}

declare function statusOf (): ReturnType<Links['status']> extends Iterable<infer One> ? One : never

function waitRows (all: ReadonlyArray<{ readonly count: number, readonly admitted: number, readonly left: number }>): Row[] {
  const sum = (of: (one: typeof all[number]) => number): number => all.reduce((total, one) => total + of(one), 0)
  return [[{ outcome: 'admitted' }, sum(one => one.admitted)], [{ outcome: 'refused' }, sum(one => one.count - one.admitted - one.left)], [{ outcome: 'left' }, sum(one => one.left)]]
}

function upRows ({ status: { tracesError, metricsError } }: Telemetry): Row[] {
  return [[{ signal: 'traces' }, tracesError === undefined ? 1 : 0], [{ signal: 'metrics' }, metricsError === undefined ? 1 : 0]]
}

function * auditRows (audit: AuditLog): Iterable<Row> {
  for (const { name: sink, made, written, spooled, dropped, rejected } of audit.sinks) {
    yield [{ sink, state: 'made' }, made]
    yield [{ sink, state: 'written' }, written]
    yield [{ sink, state: 'spooled' }, spooled]
    yield [{ sink, state: 'dropped' }, dropped]
    if (rejected !== undefined) yield [{ sink, state: 'rejected' }, rejected]
  }
}
