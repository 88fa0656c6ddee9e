import type { AuditEvent } from '../domain/event.js'
import { rejections } from '../domain/rejection.js'

/** OCSF's severity_id: how much a reader should care. */
export const SEVERITY = { informational: 1, low: 2, medium: 3, high: 4 } as const

export type SeverityName = keyof typeof SEVERITY
export type Severity = (typeof SEVERITY)[SeverityName]

/**
 * Severity by meaning: an attempt on the gate's own credential and a gate that cannot do its work are high, a burst of
 * guesses, a valid key from a foreign network and a write whose fate nobody knows medium, a refused or failed call low.
 */
export function severityOf ({ outcome, reason, wouldDeny }: AuditEvent): Severity {
  switch (reason) {
    case 'self_protection': case 'audit_unavailable': case 'upstream_credential': case 'internal': return SEVERITY.high
    case 'too_many_failures': case 'network': case 'upstream_uncertain': case 'exception_expired': case 'credential_unavailable': return SEVERITY.medium
    default:
  }
  if (outcome === 'unknown') return SEVERITY.medium
  if (outcome === 'pending') return SEVERITY.informational
  return outcome === 'allowed' && wouldDeny === undefined ? SEVERITY.informational : SEVERITY.low
}

/** OCSF's activity_id. */
export const ACTIVITY = { create: 1, read: 2, update: 3, delete: 4, other: 99 } as const
export type Activity = (typeof ACTIVITY)[keyof typeof ACTIVITY]

const CREATES = /^(?:create|add|assign|enroll|issue|generate|upload|clone|publish|import)/
const DELETES = /^(?:delete|revoke|unassign|remove|unlink|end|clear|reset)/
const READS = /^(?:list|get|preview|search|introspect|test|download)/

/** What a call does, as far as its operationId and method tell: most of Okta's lifecycle operations are a POST. */
export function activityOf (method: string, operation: string | undefined): Activity {
  if (method === 'GET') return ACTIVITY.read
  if (method === 'DELETE') return ACTIVITY.delete
  if (method === 'PUT' || method === 'PATCH') return ACTIVITY.update
  if (method !== 'POST') return ACTIVITY.other
  if (operation === undefined || CREATES.test(operation)) return ACTIVITY.create
  if (DELETES.test(operation)) return ACTIVITY.delete
  return READS.test(operation) ? ACTIVITY.read : ACTIVITY.update
}

/** OCSF's disposition_id: what the gate did about it. */
export const DISPOSITION = { unknown: 0, allowed: 1, blocked: 2, logged: 17, unauthorized: 26, error: 27 } as const
export type Disposition = (typeof DISPOSITION)[keyof typeof DISPOSITION]

export function dispositionOf ({ outcome, reason, wouldDeny, decision }: AuditEvent): Disposition {
  switch (outcome) {
    case 'allowed': return wouldDeny === undefined ? DISPOSITION.allowed : DISPOSITION.logged
    case 'refused': return isUnauthorized(reason) ? DISPOSITION.unauthorized : DISPOSITION.blocked
    case 'limited': return DISPOSITION.blocked
    case 'failed': return DISPOSITION.error
    case 'aborted': return decision === 'allow' ? DISPOSITION.allowed : DISPOSITION.unknown
    default: return decision === 'allow' ? DISPOSITION.allowed : DISPOSITION.unknown
  }
}

/** Of an event that was read back, too: a reason of another version is none of ours. */
function isUnauthorized (reason: AuditEvent['reason']): boolean {
  return reason !== undefined && Object.hasOwn(rejections, reason) && rejections[reason].status === 401
}

/** An id of the event itself, for de-duplication; a request's events share `id`. */
export function eventId ({ id, phase }: AuditEvent): string {
  return phase === undefined ? id : `${id}:${phase}`
}
