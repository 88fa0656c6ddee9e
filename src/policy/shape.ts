import type { CredentialKind } from '../domain/decision.js'
import type { Operation } from '../domain/operation.js'
import type { BodyCondition, QueryCondition, ValueTest } from './condition.js'

/**
 * What a rule means, without its place. Immutable and shared: identical rules of all clients have one shape,
 * so that ten thousand policies cost little more than their tables.
 */
export interface RuleShape {
  readonly operation: Operation
  /** `as`, or the operation or request line */
  readonly name: string
  /** which spellings of the path it admits; `operation` rules and denies: any */
  readonly spelling: 'any' | 'canonical' | 'alias'
  /** by position in the path; undefined: any parameters */
  readonly where: readonly (ValueTest | undefined)[] | undefined
  /** the parameters' names as the rule's conditions call them */
  readonly names: readonly string[]
  readonly query: QueryCondition
  readonly body: BodyCondition | undefined
  readonly credential: CredentialKind
  readonly limitPerMinute: number | undefined
  readonly waitMs: number | undefined
  readonly observe: boolean
  /** the written body condition as JSON text: equal texts, equal conditions */
  readonly bodyText: string | undefined
}

/** Prefix under which calls go out without a credential unless a rule says otherwise: /authn needs none. */
const AUTHN = '/api/v1/authn'

/** True for operations of the Authentication API. */
export function isAuthn (operation: Operation): boolean {
  return operation.template === AUTHN || operation.template.startsWith(`${AUTHN}/`)
}

/** The credential of calls whose rule names none. */
export function defaultCredential (operation: Operation): CredentialKind {
  return isAuthn(operation) ? 'none' : 'upstream'
}
