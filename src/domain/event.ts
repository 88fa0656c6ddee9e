import type { DenyReason } from './decision.js'
import type { RejectionCode } from './rejection.js'

/** What became of a request. */
export type Outcome =
  | 'allowed' // forwarded, and the answer went back whole
  | 'refused' // by the gate, nothing was forwarded
  | 'limited' // refused by a limit
  | 'failed' // allowed, but Okta or the gate failed
  | 'aborted' // the client left before the answer was complete
  | 'pending' // not over yet: an intent, or a request that has outlived a minute
  | 'unknown' // the gate stopped before it could say; written by the next start

/** An event that is not a request's last. `intent`: on disk before a write was forwarded; `open`: still running after a minute. */
export type Phase = 'intent' | 'open'

/** Something of Okta's that the path names. */
export interface Resource {
  /** user, group, app, factor … : from the path's template */
  readonly kind: string
  /** as in the path, decoded; a keyed hash where the operator wants that */
  readonly id: string
}

/** One line of the audit log: what happened to one request. No body, no query value, no credential, ever. */
export interface AuditEvent {
  /** epoch milliseconds when the request began */
  readonly time: number
  /** the gate's own id of the request; `errorId` of a refusal */
  readonly id: string
  /** absent: the request is over */
  readonly phase?: Phase
  readonly outcome: Outcome
  /** the stage at which the request ended */
  readonly stage: string
  readonly method: string
  /** path as received, cut at 1,024 characters, without the query; absent when it could not be read */
  readonly path?: string
  /** names of the query parameters, in order */
  readonly queryNames?: readonly string[]
  readonly source: string
  readonly client?: string
  readonly keyId?: string
  readonly authentication?: string
  readonly operation?: string
  /** what the path names, in its order */
  readonly resources?: readonly Resource[]
  readonly rule?: string
  readonly ruleId?: string
  /** allow | deny */
  readonly decision?: 'allow' | 'deny'
  readonly reason?: RejectionCode
  /** an observed client or rule: what enforce would have refused */
  readonly wouldDeny?: DenyReason
  /** text for operators: why, in more words; names only */
  readonly detail?: string
  /** leaf paths of the body, of observed clients only; never values */
  readonly bodyPaths?: readonly string[]
  readonly upstream?: string
  readonly credential?: string
  readonly bucket?: string
  /** what the client got; absent when it got nothing */
  readonly status?: number
  readonly upstreamStatus?: number
  readonly oktaRequestId?: string
  /** the answer ended before it was whole */
  readonly truncated?: boolean
  readonly resent?: boolean
  readonly bytesIn: number
  readonly bytesOut: number
  /** whole request, milliseconds */
  readonly durationMs: number
  /** from the first byte sent to Okta to its headers, milliseconds */
  readonly upstreamMs?: number
  /** hash of the policy file that decided, first 12 hex digits */
  readonly policy?: string
  /** of the distributed trace that the request belongs to; absent without `telemetry` */
  readonly traceId?: string
  /** this event stands for so many requests of one source that was guessing */
  readonly count?: number
}
