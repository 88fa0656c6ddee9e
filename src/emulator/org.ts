import { addRole, addServiceApp, type ServiceApp } from './apps.js'
import { addGroup } from './groups.js'
import { createIdentifiers, createTokens } from './identifiers.js'
import { createOrg, isoTime, type ApiToken, type Org } from './state.js'
import { addUser } from './users.js'

/** An API token that the org accepts. */
export interface ApiTokenSeed {
  readonly token: string
  /** its owner; by default the service account of the org */
  readonly userId?: string
  readonly name?: string
}

/** What an org starts with. */
export interface OrgSeed {
  readonly apiTokens: readonly ApiTokenSeed[]
  readonly serviceApps: readonly ServiceApp[]
  /** how many users */
  readonly users: number
  /** a principal's percentage of Okta's limits, as /principal-rate-limits shows it */
  readonly principalPercentage: number
}

/** The password of the n-th seeded user, from 1. */
export function seededPassword (n: number): string {
  return `Seeded-${n}-password!`
}

/** The login of the n-th seeded user, from 1. */
export function seededLogin (n: number): string {
  return `user${String(n).padStart(5, '0')}@example.com`
}

/** Builds the org: a service account that owns the API tokens, groups, users, apps. Times from `now`, epoch milliseconds. */
export function seedOrg (seed: OrgSeed, randomBytes: (n: number) => Uint8Array, now: number): Org {
  const org = createOrg(createIdentifiers(), createTokens(randomBytes))
  const owner = addUser(org, { profile: { login: 'svc-narrowgate@example.com', email: 'svc-narrowgate@example.com', firstName: 'Service', lastName: 'Narrowgate' } }, now)
  addRole(org, owner.roles, 'USER', { type: 'ORG_ADMIN', label: 'Organization Administrator' }, now)
  const everyone = addGroup(org, 'Everyone', now, 'BUILT_IN', 'All users in your organization')
  for (const name of ['Engineers', 'Contractors', 'Helpdesk']) addGroup(org, name, now)
  for (let n = 1; n <= seed.users; n++) {
    const login = seededLogin(n)
    const profile = { firstName: 'User', lastName: String(n), login, email: login }
    everyone.members.add(addUser(org, { profile, password: seededPassword(n) }, now).id)
  }
  for (const token of seed.apiTokens) addApiToken(org, token, owner.id, seed.principalPercentage, now)
  for (const app of seed.serviceApps) {
    addServiceApp(org, app, now)
    addPrincipalLimit(org, app.clientId, 'OAUTH_CLIENT', seed.principalPercentage, now)
  }
  for (const name of ['BlockedIpZone', 'LegacyIpZone']) addSystemZone(org, name, now)
  return org
}

function addApiToken (org: Org, seed: ApiTokenSeed, ownerId: string, percentage: number, now: number): void {
  const token: ApiToken = {
    id: org.identify('00T'), name: seed.name ?? 'Narrowgate', userId: seed.userId ?? ownerId, value: seed.token, network: { connection: 'ANYWHERE' }, created: isoTime(now), lastUsed: now
  }
  org.apiTokens.set(token.id, token)
  org.apiTokenValues.set(token.value, token)
  addPrincipalLimit(org, token.id, 'SSWS_TOKEN', percentage, now)
}

function addPrincipalLimit (org: Org, principalId: string, principalType: string, percentage: number, now: number): void {
  const id = org.identify('prl')
  const time = isoTime(now)
  org.principalLimits.set(id, { id, orgId: org.id, principalId, principalType, defaultPercentage: percentage, defaultConcurrencyPercentage: percentage, createdDate: time, lastUpdate: time })
}

function addSystemZone (org: Org, name: string, now: number): void {
  const id = org.identify('nzo')
  const time = isoTime(now)
  const usage = name === 'BlockedIpZone' ? 'BLOCKLIST' : 'POLICY'
  org.zones.set(id, { type: 'IP', id, name, status: 'ACTIVE', usage, created: time, lastUpdated: time, system: true, gateways: null, proxies: null })
}
