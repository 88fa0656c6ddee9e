import type { Pool } from 'undici'
import type { Operation } from '../domain/operation.js'
import { defaultLimit, orgLimitFor } from '../okta/buckets.js'
import { originsOf, rewriteHrefs, rewriteLinkHeader, rewriteLocation, type Origins } from '../okta/links.js'
import type { BucketPlan } from '../limits/store.js'
import type { LocationRewrites } from '../upstream/answer-head.js'
import type { Breaker } from '../upstream/breaker.js'
import type { CallDispatch, Credentials } from '../upstream/inject.js'
import type { ForwardTimeouts } from '../upstream/result.js'

/** One upstream as a snapshot holds it: everything that a request needs, worked out at reload. */
export interface UpstreamRoad {
  readonly name: string
  /** the org's */
  readonly host: string
  readonly dispatch: CallDispatch
  readonly credentials: Credentials
  readonly breaker: Breaker
  /** a scope that an operation needs and Okta refuses */
  readonly missingScope: (operation: Operation) => string | undefined
  readonly timeouts: ForwardTimeouts
  /** by operation.index; operations of one bucket share one plan */
  readonly plans: readonly BucketPlan[]
  /** calls that one client may have in flight */
  readonly callsPerClient: number
  readonly rewrites: LocationRewrites
  readonly rewriteHrefs: (body: Buffer) => Buffer | undefined
}

/** An upstream's connections and credentials: they outlive snapshots. */
export interface UpstreamLink {
  readonly pool: Pool
  readonly dispatch: CallDispatch
  readonly credentials: Credentials
  readonly breaker: Breaker
  readonly missingScope: (operation: Operation) => string | undefined
}

/** The limits of the configuration, for one upstream. */
export interface LimitSettings {
  /** 0 … 1 */
  readonly ceiling: number
  /** 0 … 1 */
  readonly credentialShare: number
  readonly concurrency: number
  /** part of the calls in flight that one of several clients may have, 0 … 1 */
  readonly clientConcurrency: number
  /** calls per minute by '[METHOD[,METHOD] ]bucket' or '*' */
  readonly org: Readonly<Record<string, number>>
}

/** Composes an upstream for a snapshot. `clients`: how many there are of it; a single one has no one to leave slots to. */
export function composeUpstream (name: string, org: string, publicUrl: string, link: UpstreamLink, timeouts: ForwardTimeouts, limits: LimitSettings, operations: readonly Operation[], clients: number): UpstreamRoad {
  const origins = originsOf(org, publicUrl)
  return {
    name,
    host: new URL(org).hostname,
    dispatch: link.dispatch,
    credentials: link.credentials,
    breaker: link.breaker,
    missingScope: link.missingScope,
    timeouts,
    plans: plansOf(name, limits, operations),
    callsPerClient: clients < 2 ? Infinity : Math.max(1, Math.floor(limits.ceiling * limits.concurrency * limits.clientConcurrency)),
    rewrites: rewritesOf(origins),
    rewriteHrefs: body => rewriteHrefs(body, origins)
  }
}

function rewritesOf (origins: Origins): LocationRewrites {
  return {
    link: value => rewriteLinkHeader(value, origins),
    location: value => rewriteLocation(value, origins)
  }
}

function plansOf (upstream: string, limits: LimitSettings, operations: readonly Operation[]): readonly BucketPlan[] {
  const plans = new Map<string, BucketPlan>()
  return operations.map(({ bucket }) => {
    let plan = plans.get(bucket)
    if (plan === undefined) {
      const { ceiling, credentialShare, concurrency, org } = limits
      plan = { upstream, bucket, configuredOrg: orgLimitFor(bucket, org), catalogueOrg: defaultLimit(bucket).perMinute, ceiling, credentialShare, concurrency }
      plans.set(bucket, plan)
    }
    return plan
  })
}
