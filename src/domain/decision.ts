import type { Operation } from './operation.js'
import type { QueryParameter } from './target.js'

/** Which credential a rule's calls go out with. */
export type CredentialKind = 'none' | 'upstream' | 'authnToken'

/** A rule, as audit events and refusals name it. */
export interface RuleReference {
  /** `file#index`, e.g. `helpdesk.yaml#3`; deny entries are `helpdesk.yaml#deny0` */
  readonly id: string
  /** `as:` of the rule, or its operation or request line */
  readonly name: string
  readonly credential: CredentialKind
  /** the rule's own limit, calls per minute */
  readonly limitPerMinute?: number
  /** how long its calls may wait for allowance, milliseconds; absent: as its client says */
  readonly waitMs?: number
}

/** Why a call was refused. Also the words that `because:` in a policy's tests uses. */
export type DenyReason = 'no_rule' | 'where' | 'query' | 'body' | 'deny' | 'network' | 'expired'

/** One rule that was tried, and the first condition that failed. */
export interface Attempt {
  readonly rule: RuleReference
  readonly failed: DenyReason
  /** names only, e.g. `where.groupId` or `body: profile.email is not in only` */
  readonly condition: string
}

/** allow | deny | undecided, always with a reason. `undecided`: the body has to be read first. */
export type Decision =
  | { readonly effect: 'allow', readonly rule: RuleReference, readonly wouldDeny?: DenyReason, readonly attempts?: readonly Attempt[] }
  | { readonly effect: 'deny', readonly reason: DenyReason, readonly rule?: RuleReference, readonly attempts: readonly Attempt[] }
  | { readonly effect: 'undecided' }

/** What decide() judges: one call, parsed once. */
export interface Call {
  readonly operation: Operation
  /** decoded values, in the order of operation.parameters */
  readonly parameters: readonly string[]
  /** the spelling: true when an alias of the operation was used */
  readonly alias: boolean
  readonly query: readonly QueryParameter[]
  /** undefined until read; what `undecided` waits for */
  readonly body?: CallBody
}

/** A body that arrived whole. `absent`: no byte; `unjudgeable`: not strict JSON, with the reason. */
export type CallBody =
  | { readonly kind: 'absent' }
  | { readonly kind: 'json', readonly value: unknown }
  | { readonly kind: 'unjudgeable', readonly why: string }
