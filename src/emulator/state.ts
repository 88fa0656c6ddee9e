import type { JWK } from 'jose'

export type UserStatus =
  | 'STAGED' | 'PROVISIONED' | 'ACTIVE' | 'RECOVERY' | 'PASSWORD_EXPIRED' | 'LOCKED_OUT' | 'SUSPENDED' | 'DEPROVISIONED'

/** A user of the org. Times are ISO 8601 text, as Okta writes them. */
export interface User {
  readonly id: string
  status: UserStatus
  readonly created: string
  activated: string | null
  statusChanged: string | null
  lastLogin: string | null
  lastUpdated: string
  passwordChanged: string | null
  profile: Record<string, unknown>
  password?: string
  recoveryQuestion?: { question: string, answer: string }
  /** one-time tokens of activate and reset_password */
  recoveryToken?: string
  readonly factors: Map<string, Factor>
  readonly roles: Map<string, Role>
  failedAttempts: number
  /** sign-in asks for a factor to be enrolled; `optional` may be skipped */
  enrollment: 'none' | 'required' | 'optional'
  /** counts changes; the ETag */
  version: number
  /** the serialised user, until the next change */
  json?: string
}

export type FactorType = 'question' | 'sms' | 'call' | 'token:software:totp'

export interface Factor {
  readonly id: string
  readonly factorType: FactorType
  readonly provider: string
  status: 'PENDING_ACTIVATION' | 'ACTIVE'
  readonly created: string
  lastUpdated: string
  profile: Record<string, unknown>
  /** of a question */
  answer?: string
  /** of sms and call: what the last message said */
  passCode?: string
  /** of totp: base32 */
  sharedSecret?: string
}

export interface Group {
  readonly id: string
  readonly created: string
  lastUpdated: string
  lastMembershipUpdated: string
  readonly type: 'OKTA_GROUP' | 'BUILT_IN'
  profile: { name: string, description: string | null }
  readonly members: Set<string>
}

/** An admin role as it is assigned to a user or a client. */
export interface Role {
  readonly id: string
  readonly type: string
  readonly label: string
  readonly assignmentType: 'USER' | 'CLIENT'
  readonly created: string
  /** of type CUSTOM */
  readonly role?: string
  readonly 'resource-set'?: string
}

export interface ApiToken {
  readonly id: string
  readonly name: string
  readonly userId: string
  readonly value: string
  network: { connection: string, include?: readonly string[] }
  readonly created: string
  /** epoch milliseconds of the last use; 30 days later it is dead */
  lastUsed: number
}

/** An application: stored JSON, plus what the token endpoint needs. */
export interface App {
  readonly id: string
  document: Record<string, unknown>
  readonly grants: Map<string, Record<string, unknown>>
  readonly roles: Map<string, Role>
  jwks: { keys: JWK[] }
  /** dpop_bound_access_tokens */
  dpop: boolean
}

/** An access token that the org issued. */
export interface AccessToken {
  readonly clientId: string
  readonly scopes: ReadonlySet<string>
  /** epoch milliseconds */
  readonly expiresAt: number
  /** RFC 7638 thumbprint of the DPoP key it is bound to */
  readonly jkt?: string
}

export type TransactionStatus =
  | 'MFA_REQUIRED' | 'MFA_CHALLENGE' | 'MFA_ENROLL' | 'MFA_ENROLL_ACTIVATE' | 'PASSWORD_EXPIRED' | 'PASSWORD_WARN'
  | 'PASSWORD_RESET' | 'RECOVERY' | 'RECOVERY_CHALLENGE'

/** A sign-in or recovery transaction, known by its state token. */
export interface Transaction {
  readonly stateToken: string
  /** undefined: a neutral recovery of a user who does not exist */
  readonly userId?: string
  status: TransactionStatus
  expiresAt: number
  factorId?: string
  readonly recoveryType?: 'PASSWORD' | 'UNLOCK'
  readonly recoveryFactor?: 'SMS' | 'CALL'
  passCode?: string
  readonly relayState?: string
}

/** A stored JSON object of Okta's, with its id: zones, group rules, roles, resource sets … */
export type Document = Record<string, unknown> & { id: string }

/** The whole state of the org. Tests may read and change it. */
export interface Org {
  /** absolute URL of the org, without a slash at the end; known once it listens */
  origin: string
  readonly id: string
  /** ids of Okta's shape */
  readonly identify: (prefix: string) => string
  /** secrets */
  readonly secret: (prefix: string) => string
  readonly users: Map<string, User>
  /** login in lower case → id */
  readonly logins: Map<string, string>
  readonly groups: Map<string, Group>
  readonly rules: Map<string, Document>
  readonly apiTokens: Map<string, ApiToken>
  /** token value → token */
  readonly apiTokenValues: Map<string, ApiToken>
  readonly apps: Map<string, App>
  readonly accessTokens: Map<string, AccessToken>
  readonly transactions: Map<string, Transaction>
  /** recovery token → user id and the moment it dies */
  readonly recoveryTokens: Map<string, { userId: string, expiresAt: number, recoveryType: 'PASSWORD' | 'UNLOCK' }>
  /** session token → user id */
  readonly sessionTokens: Map<string, string>
  readonly sessions: Map<string, Document>
  readonly zones: Map<string, Document>
  readonly customRoles: Map<string, Document>
  readonly resourceSets: Map<string, Document>
  readonly principalLimits: Map<string, Document>
  readonly settings: { clientPrivileges: boolean }
  /** the System Log, newest last, at most LOG_SIZE */
  readonly log: LogEvent[]
}

export interface LogEvent {
  readonly uuid: string
  readonly published: string
  readonly eventType: string
  readonly actor: { readonly id: string, readonly type: string }
  readonly outcome: { readonly result: string }
  readonly transaction: { readonly detail: Readonly<Record<string, string>> }
}

/** An org without anybody in it. */
export function createOrg (identify: (prefix: string) => string, secret: (prefix: string) => string): Org {
  return {
    origin: '',
    id: identify('00o'),
    identify,
    secret,
    users: new Map(),
    logins: new Map(),
    groups: new Map(),
    rules: new Map(),
    apiTokens: new Map(),
    apiTokenValues: new Map(),
    apps: new Map(),
    accessTokens: new Map(),
    transactions: new Map(),
    recoveryTokens: new Map(),
    sessionTokens: new Map(),
    sessions: new Map(),
    zones: new Map(),
    customRoles: new Map(),
    resourceSets: new Map(),
    principalLimits: new Map(),
    settings: { clientPrivileges: false },
    log: []
  }
}

/** Okta's time format: ISO 8601 with milliseconds, which it always writes as zero. */
export function isoTime (now: number): string {
  return new Date(Math.floor(now / 1000) * 1000).toISOString()
}
