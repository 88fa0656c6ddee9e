import type { Operation } from '../domain/operation.js'
import { failure, type Answer } from './answers.js'
import type { Principal } from './call.js'
import { SeenOnce, checkProof } from './dpop.js'
import type { Org } from './state.js'

const IDLE_LIMIT = 30 * 86_400_000
const NO_HEADERS: readonly string[] = []

/** What a call presents. */
export interface Presented {
  readonly authorization: string | undefined
  readonly dpop: string | undefined
  readonly method: string
  readonly path: string
}

/** Who calls, or the 401; undefined is nobody, which is fine for an anonymous operation. */
export type Authenticated = Principal | undefined | Answer

/** True when authentication has ended in an answer. */
export function isAnswer (value: Authenticated): value is Answer {
  return value !== undefined && 'status' in value
}

/**
 * Authenticates a call. Forms are not interchangeable (facts.md, Credentials). Only DPoP makes it wait.
 * A Bearer token on an anonymous operation is ignored: what Okta does there is not established.
 */
export function authenticate (org: Org, operation: Operation, presented: Presented, seen: SeenOnce, now: number): Authenticated | Promise<Authenticated> {
  const { authorization } = presented
  if (authorization === undefined) return operation.anonymous ? undefined : failure('E0000011')
  const space = authorization.indexOf(' ')
  const scheme = authorization.slice(0, Math.max(0, space)).toLowerCase()
  const token = authorization.slice(space + 1)
  if (scheme === 'ssws') return apiToken(org, token, now)
  if (operation.anonymous) return undefined
  if (scheme === 'bearer') return accessToken(org, token, now)
  return scheme === 'dpop' ? boundToken(org, token, presented, seen, now) : failure('E0000011')
}

function apiToken (org: Org, value: string, now: number): Authenticated {
  const token = org.apiTokenValues.get(value)
  if (token === undefined || now - token.lastUsed > IDLE_LIMIT) return failure('E0000011')
  const status = org.users.get(token.userId)?.status
  // A token follows its owner: rights now, death with the account.
  if (status === undefined || status === 'DEPROVISIONED' || status === 'SUSPENDED') return failure('E0000011')
  token.lastUsed = now
  return { kind: 'apiToken', id: token.id, userId: token.userId }
}

function accessToken (org: Org, value: string, now: number): Authenticated {
  const token = org.accessTokens.get(value)
  if (token === undefined || token.expiresAt <= now) return failure('E0000011', { headers: challenge(org, 'Bearer', 'invalid_token') })
  if (token.jkt !== undefined) return failure('E0000011', { headers: challenge(org, 'DPoP', 'invalid_token') })
  return { kind: 'client', id: token.clientId, scopes: token.scopes }
}

async function boundToken (org: Org, value: string, presented: Presented, seen: SeenOnce, now: number): Promise<Authenticated> {
  const token = org.accessTokens.get(value)
  if (token?.jkt === undefined || token.expiresAt <= now) return failure('E0000011', { headers: challenge(org, 'DPoP', 'invalid_token') })
  const proof = await checkProof(presented.dpop, { method: presented.method, url: org.origin + presented.path, accessToken: value, now }, seen)
  // RFC 9449 section 7.1; what Okta's body says is not recorded.
  if ('error' in proof || proof.jkt !== token.jkt) return failure('E0000011', { headers: challenge(org, 'DPoP', 'invalid_dpop_proof') })
  return { kind: 'client', id: token.clientId, scopes: token.scopes }
}

function challenge (org: Org, scheme: string, error: string): string[] {
  return ['WWW-Authenticate', `${scheme} realm="${org.origin}", error="${error}"`]
}

/**
 * May this principal call this operation? A missing scope is 403 with an empty body; all there is to know stands in
 * WWW-Authenticate (facts.md, Errors). `.manage` includes `.read`.
 *
 * @returns undefined when it may
 */
export function authorize (org: Org, operation: Operation, principal: Principal | undefined, dpop: boolean, path: string): Answer | undefined {
  if (principal === undefined) return undefined
  if (principal.kind === 'apiToken') return operation.apiToken || operation.anonymous ? undefined : failure('E0000006')
  const { scopes } = operation
  // Operations that name no scope (listSupportedSecurityQuestions): what Okta asks of OAuth there is not established.
  if (scopes.length === 0) return undefined
  const held = (scope: string): boolean => principal.scopes.has(scope) || (scope.endsWith('.read') && principal.scopes.has(`${scope.slice(0, -5)}.manage`))
  if (operation.allScopesRequired ? scopes.every(held) : scopes.some(held)) return undefined
  const line = `${dpop ? 'DPoP' : 'Bearer'} authorization_uri="${org.origin}/oauth2/v1/authorize", realm="${org.origin}", scope="${scopes.join(' ')}", ` +
    `error="insufficient_scope", error_description="The access token provided does not contain the required scopes.", resource="${path}"`
  return { status: 403, body: '', headers: [...NO_HEADERS, 'WWW-Authenticate', line] }
}
