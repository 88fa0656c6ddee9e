import type { CredentialKind } from '../domain/decision.js'
import { concurrencyAllowance } from './allowance.js'
import type { BucketState } from './bucket.js'
import type { Observation } from './headers.js'
import type { BucketPlan, BucketView, LimitCall, RefusedBy, UpstreamView } from './store.js'
import { orgLimit, orgSource, allowance } from './allowance.js'

/** A step of script.ts: its letter and what it needs. */
export type Step = readonly [string, ...unknown[]]

const CREDENTIALS: Readonly<Record<CredentialKind, string>> = { upstream: 'u', none: 'n', authnToken: 't' }

function planOf ({ configuredOrg, catalogueOrg, ceiling, credentialShare }: BucketPlan): unknown[] {
  return [configuredOrg === undefined ? 0 : 1, configuredOrg ?? catalogueOrg, ceiling, credentialShare]
}

/**
 * @param forced count it without looking: the gate has admitted it from its own share
 * @param seen how much of the bucket the gate has last seen used
 */
export function reserveStep (id: number, { plan, credential, client, share, rule, floor, level, user, again }: LimitCall, forced: boolean, seen: number): Step {
  return ['r', id, plan.bucket, CREDENTIALS[credential], client, share, rule?.id ?? '', rule?.perMinute ?? 0, ...planOf(plan), concurrencyAllowance(plan), floor ?? 0, level ?? 1, user ?? '', forced ? 1 : 0, seen, again === true ? 1 : 0]
}

/** What a reservation came to. Times are the server's. */
export type Reserved =
  | { readonly kind: 'admitted' | 'wait' | 'regroup' }
  | { readonly kind: 'refused', readonly by: RefusedBy, readonly untilMs: number, readonly limit: number }

const KINDS = [undefined, 'admitted', 'refused', 'wait', 'regroup'] as const

/** Reads the answer to a reservation: what came of it, and what the store showed of the bucket. */
export function readReserved (result: readonly [number, number, number, number, RefusedBy, number, number]): { reserved: Reserved, used: number, othersInFlight: number, allowance: number } {
  const [code, used, othersInFlight, allowance, by, untilMs, limit] = result
  const kind = KINDS[code]!
  return { reserved: kind === 'refused' ? { kind, by, untilMs, limit } : { kind }, used, othersInFlight, allowance }
}

/** @param sentAt when it was reserved, on the server's clock @param offset server's clock less the gate's */
export function settleStep (id: number, call: LimitCall, sentAt: number, observation: Observation | undefined, offset: number): Step {
  return ['s', ...budgetsOf(id, call), Math.round(sentAt), ...taughtBy(observation, offset), ...planOf(call.plan), concurrencyAllowance(call.plan)]
}

export function cancelStep (id: number, call: LimitCall): Step {
  return ['x', ...budgetsOf(id, call)]
}

function budgetsOf (id: number, { plan, credential, client, rule, user }: LimitCall): unknown[] {
  return [id, plan.bucket, CREDENTIALS[credential], client, rule?.id ?? '', user ?? '']
}

function taughtBy (observation: Observation | undefined, offset: number): number[] {
  if (observation === undefined) return [0, 0, 0, 0, 0]
  const tooMany = observation.tooMany ? 1 : 0
  switch (observation.kind) {
    case 'window': return [1, tooMany, observation.limit, observation.remaining, Math.round(observation.resetMs + offset)]
    case 'concurrency': return [2, tooMany, 0, 0, Math.round(observation.resetMs + offset)]
    case 'silent': return [3, tooMany, 0, 0, 0]
    case 'nonsense': return [4, tooMany, 0, 0, 0]
  }
}

export interface Joining {
  readonly newEpoch: string
  /** the epoch that this gate knew; '' for none */
  readonly epoch: string
  readonly peers: readonly string[]
  /** of what expires by then the store knows already, if it is the same; server's clock */
  readonly since: number
  /** batches that got no answer, each with what it told at the latest: number and `since` */
  readonly sent: ReadonlyArray<readonly [number, number]>
  /** how long others, that an emptied store does not know, are waited for, ms */
  readonly patienceMs: number
}

/** A gate joins, with everything of its last 60 seconds. */
export function joinStep ({ newEpoch, epoch, peers, since, sent, patienceMs }: Joining, { buckets, inFlight }: { buckets: ReadonlyMap<string, BucketState>, inFlight: number }, now: number, offset: number): Step {
  const rows: Array<[string, number[], number]> = [['', [], inFlight]]
  const taught: unknown[] = []
  const row = (budget: string, window: BucketState['window']): void => {
    const expiries = window.expiries(now).map(expiry => Math.round(expiry + offset))
    if (expiries.length + window.inFlight > 0) rows.push([budget, expiries, window.inFlight])
  }
  for (const [name, bucket] of buckets) {
    row(name, bucket.window)
    for (const { client, window, rules } of bucket.clients) {
      row(`${name}\n${client}`, window)
      rules?.forEach((counted, rule) => { row(`${name}\n${client}\n${rule}`, counted) })
    }
    const moved = (at: number): number => at === 0 ? 0 : Math.round(at + offset)
    const windows: unknown[] = []
    for (const [credential, letter] of Object.entries(CREDENTIALS)) {
      const remaining = bucket.remaining(credential as CredentialKind)
      if (remaining.inFlight > 0) rows.push([`\n${letter}\n${name}`, [], remaining.inFlight])
      const { limit, least, resetMs } = remaining.known(now) ?? { limit: 0, least: 0, resetMs: 0 }
      if (remaining.learned) windows.push([letter, limit, least, moved(resetMs)])
    }
    const { learnedOrg, closedUntilMs, closedAnonymousUntilMs } = bucket.taught
    taught.push([name, learnedOrg, moved(closedUntilMs), moved(closedAnonymousUntilMs), allowance(bucket.plan, learnedOrg > 0 ? learnedOrg : undefined, Infinity), windows])
  }
  return ['j', newEpoch, epoch, peers, since, rows, taught, patienceMs, sent]
}

/** One bucket as a beat shows it. Times are the server's, 0 for none. */
export interface Beat {
  readonly bucket: string
  readonly used: number
  readonly othersInFlight: number
  readonly allowance: number
  readonly learnedOrg: number
  readonly closedUntilMs: number
  readonly closedAnonymousUntilMs: number
}

type BeatRow = readonly [string, number, number, number, number, number, number]

/** @returns `gates`: those that are heard of; `count`: with those that may have called within the last minute */
export function readBeat ([gates, rows, count]: readonly [string[], BeatRow[], number]): { gates: readonly string[], count: number, buckets: Beat[] } {
  return {
    gates,
    count,
    buckets: listOf(rows).map(([bucket, used, othersInFlight, allowed, learnedOrg, closedUntilMs, closedAnonymousUntilMs]) =>
      ({ bucket, used, othersInFlight, allowance: allowed, learnedOrg, closedUntilMs, closedAnonymousUntilMs }))
  }
}

type ViewRow = readonly [string, number, number[], number, number, number, Array<[string, number]>, number, number]

/** The whole of an upstream, for metrics. Buckets that this gate has not called have no plan here and are left out. */
export function readView (upstream: string, [inFlight, learned, , rows]: readonly [number, number, number, ViewRow[]], plans: ReadonlyMap<string, BucketPlan>, now: number, offset: number, waiting: (bucket: string) => number): UpstreamView {
  const buckets = listOf(rows).flatMap(([bucket, org, heads, used, flights, closedUntilMs, clients, nonsense, tooMany]): BucketView[] => {
    const plan = plans.get(bucket)
    if (plan === undefined) return []
    const learnedOrg = org < 0 ? undefined : org
    const header = Math.max(...(listOf(heads).length > 0 ? listOf(heads) : [-1]).map(one => one < 0 ? Infinity : one))
    return [{
      bucket,
      org: orgLimit(plan, learnedOrg),
      source: orgSource(plan, learnedOrg),
      allowance: allowance(plan, learnedOrg, header),
      used,
      inFlight: flights,
      waiting: waiting(bucket),
      closedUntilMs: closedUntilMs - offset > now ? closedUntilMs - offset : undefined,
      clients: listOf(clients).map(([client, count]) => ({ client, used: count })),
      nonsense,
      tooMany
    }]
  })
  const [first] = plans.values()
  const most = first === undefined ? 0 : concurrencyAllowance(first)
  return { upstream, inFlight, allowance: learned > 0 ? Math.min(learned, most) : most, buckets }
}

/** Lua writes an empty list as an empty object. */
function listOf<T> (list: readonly T[]): readonly T[] {
  return Array.isArray(list) ? list : []
}
