import type { CredentialKind } from '../domain/decision.js'
import type { BucketPlan, OrgSource } from './store.js'

// 0.29 × 100 is 28.999…: a product that misses its integer by rounding alone is that integer.
const ROUNDING = 1e-9

/** Where the org's limit of a bucket comes from: what narrowgate.yaml says, else the headers, else the catalogue. */
export function orgSource (plan: BucketPlan, learnedOrg: number | undefined): OrgSource {
  if (plan.configuredOrg !== undefined) return 'config'
  return learnedOrg === undefined ? 'catalogue' : 'header'
}

/** The org's own limit of a bucket, calls per minute, in that order of sources. */
export function orgLimit (plan: BucketPlan, learnedOrg: number | undefined): number {
  return plan.configuredOrg ?? learnedOrg ?? plan.catalogueOrg
}

/**
 * The org's limit that a header stands for. X-Rate-Limit-Limit shows the credential's own ceiling, by default
 * half of the org's; an anonymous call shows the org's full figure (facts.md, Rate limits).
 */
export function learnOrg (headerLimit: number, credential: CredentialKind, credentialShare: number): number {
  return credential === 'none' ? headerLimit : headerLimit / credentialShare
}

/**
 * How many calls of a bucket may be made in any 60 seconds: ceiling × org, and never more than the header last
 * said for this credential.
 *
 * @param headerLimit the header's limit while its Reset lies ahead, else Infinity
 */
export function allowance (plan: BucketPlan, learnedOrg: number | undefined, headerLimit: number): number {
  return Math.floor(Math.min(plan.ceiling * orgLimit(plan, learnedOrg), headerLimit) + ROUNDING)
}

/** A client's part of an allowance: at least one call when it has a share at all and the bucket has a call to give. */
export function clientAllowance (share: number, ofAllowance: number): number {
  if (!(share > 0) || ofAllowance === 0) return 0
  return Math.min(ofAllowance, Math.max(1, Math.floor(share * ofAllowance + ROUNDING)))
}

/** How many calls of an upstream may be in flight: ceiling × Okta's concurrency limit, at least one. */
export function concurrencyAllowance (plan: BucketPlan): number {
  return Math.max(1, Math.floor(plan.ceiling * plan.concurrency + ROUNDING))
}
