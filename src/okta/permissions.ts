import type { Operation } from '../domain/operation.js'
import file from './data/permissions.json' with { type: 'json' }

/** How sure the source of a fact is. */
export type Certainty = 'certain' | 'probable' | 'unknown'

/** A fact about entitlements, with where it comes from (keys of the project's sources.json). */
export interface Sourced<T> {
  readonly value: T
  readonly certainty: Certainty
  readonly source: readonly string[]
  readonly note?: string
}

/** What one use of an operation needs. An operation may have several uses that differ in their body. */
export interface Entitlement {
  /** operationId, or `METHOD template` of an operation that Okta's specification lacks */
  readonly operation: string
  /** what the caller wants, in the words of the operation list */
  readonly use: string
  /** permissions of a custom role; none: the call needs no admin */
  readonly permissions: Sourced<readonly string[]>
  /** the least of Okta's standard admin roles */
  readonly role: Sourced<string>
}

/** x-okta-iam-permissions and x-okta-iam-admin-roles of Okta's OpenAPI description; few operations have them. */
export interface SpecifiedEntitlement {
  readonly operation: string
  readonly permissions?: readonly string[]
  readonly roles?: readonly string[]
}

/** A permission that custom roles hold. */
export interface Permission {
  readonly label: string
  readonly area: string
  readonly governs: string
  /** request lines in prose form, e.g. `POST|PUT /api/v1/users/{id} (profile)` */
  readonly operations: readonly string[]
  readonly operationsCertainty: string
  readonly sources: readonly string[]
  readonly resources?: string
  readonly includes?: readonly string[]
  readonly customRoleAssignable?: boolean
  readonly note?: string
}

/** data/permissions.json, written by generate.ts. */
export interface PermissionFile {
  readonly standardRoles: Readonly<Record<string, string>>
  readonly permissions: readonly Permission[]
  readonly listed: readonly Entitlement[]
  readonly specified: readonly SpecifiedEntitlement[]
}

const data = file as unknown as PermissionFile
const listed = byOperation(data.listed)
const specified = new Map(data.specified.map(entry => [entry.operation, entry]))

/** Every permission that is known, and what it governs. */
export const permissions: readonly Permission[] = data.permissions

/** What Okta's standard admin roles may do, in prose. */
export const standardRoles: ReadonlyMap<string, string> = new Map(Object.entries(data.standardRoles))

/**
 * OAuth scopes that a token needs for one operation: all of them where Okta asks for all, else the first that it
 * names. Empty for operations that take no OAuth token, need no scope, or were declared by the operator.
 */
export function scopesOf (operation: Operation): readonly string[] {
  if (!operation.oauth) return []
  return operation.allScopesRequired ? operation.scopes : operation.scopes.slice(0, 1)
}

/**
 * The smallest set of OAuth scopes that covers operations, sorted. A resource's `.manage` scope can do what its
 * `.read` scope can (developer.okta.com, "Implement OAuth for Okta"), so the latter is left out beside the former.
 */
export function scopesFor (operations: Iterable<Operation>): readonly string[] {
  const needed = new Set<string>()
  for (const operation of operations) for (const scope of scopesOf(operation)) needed.add(scope)
  return [...needed].filter(scope => !(scope.endsWith('.read') && needed.has(scope.replace(/\.read$/, '.manage')))).sort()
}

/** What is known of the admin permissions and roles that an operation needs, use by use. */
export function entitlementsOf (operationId: string): readonly Entitlement[] {
  return listed.get(operationId) ?? []
}

/** What Okta's OpenAPI description itself says an operation needs. */
export function specifiedEntitlement (operationId: string): SpecifiedEntitlement | undefined {
  return specified.get(operationId)
}

function byOperation (entries: readonly Entitlement[]): ReadonlyMap<string, readonly Entitlement[]> {
  const groups = new Map<string, Entitlement[]>()
  for (const entry of entries) groups.set(entry.operation, [...groups.get(entry.operation) ?? [], entry])
  return groups
}
