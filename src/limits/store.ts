import type { CredentialKind } from '../domain/decision.js'
import type { Wait } from '../domain/rejection.js'
import type { Observation } from './headers.js'

export type OrgSource = 'config' | 'header' | 'catalogue'

/**
 * What the configuration says of one bucket of one upstream. Built once per reload and passed by reference;
 * the store keeps nothing of it, so a reload changes limits without losing a window.
 */
export interface BucketPlan {
  readonly upstream: string
  /** canonical key of okta/buckets.ts */
  readonly bucket: string
  /** limits.org for this bucket, calls per minute; absent: learned */
  readonly configuredOrg?: number
  /** the catalogue's default, calls per minute */
  readonly catalogueOrg: number
  /** limits.ceiling, 0 … 1 */
  readonly ceiling: number
  /** what Okta grants the gate's credential, 0 … 1, never 0 */
  readonly credentialShare: number
  /** Okta's concurrency limit of the org */
  readonly concurrency: number
}

/** A rule's own limit. Counted per client and rule. */
export interface RuleLimit {
  readonly id: string
  readonly perMinute: number
}

/** One call that wants to go to Okta, with every budget that it spends. */
export interface LimitCall {
  readonly plan: BucketPlan
  readonly credential: CredentialKind
  readonly client: string
  /** the client's part of the allowance, 0 … 1 */
  readonly share: number
  readonly rule?: RuleLimit
  /** the part of the allowance that no other client can take while this one asks, 0 … 1; absent: none */
  readonly floor?: number
  /** who goes first when a bucket runs dry; absent: 1 */
  readonly level?: Level
  /** hash of the user name that the call signs in: Okta limits those per second */
  readonly user?: string
  /** how long it may wait for allowance instead of being refused, milliseconds; absent: not at all */
  readonly waitMs?: number
  /** it was refused before and has been waiting since: it is one of those that are expected back already */
  readonly again?: boolean
  /** the client has left: a call that still waits is passed over. An AbortSignal fits. */
  readonly signal?: { readonly aborted: boolean }
}

/** An admitted call, as its store knows it. Hand it back to the same store. */
export interface Ticket {
  readonly kind: 'admitted'
}

/** 0 high, 1 normal, 2 low. */
export type Level = 0 | 1 | 2

/** Which budget refused. `user`: Okta's limit per user name. `store`: budgets can't be known at the moment. `closed`: Okta answered 429. `concurrency`: too many in flight, or the first answer of a bucket is awaited. */
export type RefusedBy = 'bucket' | 'share' | 'rule' | 'user' | 'concurrency' | 'closed' | 'store'

export interface Refused {
  readonly kind: 'refused'
  readonly by: RefusedBy
  /** `untilMs` is on the store's clock, after `now`, and at most 61 s ahead unless `closed` */
  readonly wait: Wait
}

export type Admission = { readonly kind: 'admitted', readonly ticket: Ticket } | Refused

/** One bucket, for metrics and `narrowgate limits`. */
export interface BucketView {
  readonly bucket: string
  /** the org's own limit, calls per minute */
  readonly org: number
  readonly source: OrgSource
  /** what may be used in any 60 s, by that credential of those seen that is allowed most */
  readonly allowance: number
  readonly used: number
  readonly inFlight: number
  /** calls that wait for the first answer after a start */
  readonly waiting: number
  /** epoch ms; absent when open */
  readonly closedUntilMs?: number
  readonly clients: readonly { readonly client: string, readonly used: number }[]
  /** answers since the start whose X-Rate-Limit headers made no sense */
  readonly nonsense: number
  /** 429s of Okta since the start */
  readonly tooMany: number
}

/** One upstream, for metrics and `narrowgate limits`. */
export interface UpstreamView {
  readonly upstream: string
  readonly inFlight: number
  /** of inFlight */
  readonly allowance: number
  readonly buckets: readonly BucketView[]
}

/**
 * Keeps the budgets. One call is `reserve` → (sent) → `settle` → `release`; each of the last two may be
 * called again without effect.
 *
 * `now` is epoch milliseconds of the present, read at the call, from a clock that does not jump
 * (`performance.timeOrigin + performance.now()`); one that steps back is held at the last value seen.
 * A store on a server uses that server's clock instead.
 */
export interface LimitStore {
  /**
   * Reserves every budget of a call, or none. A promise only where an answer takes time: a store on a server,
   * or a bucket whose first call since the start is still under way (at most `PROBE_WAIT_MS`).
   * When the client has left meanwhile, give the ticket back with `cancel`.
   */
  reserve (call: LimitCall, now: number): Admission | Promise<Admission>
  /**
   * The answer's headers came; `undefined`: the call failed or was given up without them. Call it at that
   * moment: the call's slots are held for 60 s from here.
   */
  settle (ticket: Ticket, observation: Observation | undefined, now: number): void
  /** The call is over, its response too. Settles it if that has not been done. */
  release (ticket: Ticket, now: number): void
  /** The call was never made: no byte of it was written. All its budgets are free again. */
  cancel (ticket: Ticket, now: number): void
  /**
   * Reserves for calls like this one that are expected, as many of `most` as may stand unused for a moment without
   * keeping anybody waiting: none where a budget has little left. Absent: the store does not do that.
   */
  lease? (call: LimitCall, most: number, now: number): readonly Ticket[]
  snapshot (now: number): readonly UpstreamView[] | Promise<readonly UpstreamView[]>
  /** Refuses what still waits. */
  close (now: number): Promise<void>
}
