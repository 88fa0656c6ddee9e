import { at } from '../server/self-knowledge.js'
import { Check, type Finding } from './doctor-finding.js'
import { listOf, whyOf, type OrgReader } from './doctor-org.js'
import { checkPrincipalLimit, checkRoles, checkZone, type Principal } from './doctor-principal.js'

const DAY_MS = 86_400_000
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const READ_FIX = 'run doctor with the credential of an auditor that may read it: --as CLIENT_ID --key FILE'
/** What service accounts are called, by convention; Okta has no mark for them. */
const SERVICE_LOGIN = /^(?:svc|service|srv|sa|bot|robot|api|app|system|automation|integration)(?:[-_.+]|@|$)|[-_.](?:svc|service|srv|bot|api)@/i

export interface AppInQuestion extends Principal {
  /** the configuration asks for tokens that are bound to a key */
  readonly dpop: boolean
  /** scopes that the policies need */
  readonly scopes: readonly string[]
  /** other upstreams of this configuration that use the same app */
  readonly sharedWith: readonly string[]
}

const NO_DPOP = 'narrowgate.yaml does not say dpop: true'
const DPOP_FIX = 'switch on "Require Demonstrating Proof of Possession" in the app, and write dpop: true'

/** Rules 1 to 7 and 13, for an API service app. */
export async function checkServiceApp (app: AppInQuestion): Promise<Finding[]> {
  const { upstream, reader, id } = app
  const own = new Check('service-app', upstream, 1)
  const answer = await reader.read(own, 'getApplication', `/api/v1/apps/${id}`)
  const others = [checkScopes(app), checkRoles(app), checkPrincipalLimit(app, [id]), checkPrivileges(upstream, reader)]
  if ('why' in answer) {
    const blind = ([['service-app', 1], ['service-app-dpop', 5], ['service-app-token-exchange', 6], ['service-app-zone', 7]] as const).map(([name, rule]) => {
      const check = new Check(name, upstream, rule)
      check.reads.push(...own.reads)
      // Half of this rule stands in narrowgate.yaml.
      if (name === 'service-app-dpop' && !app.dpop) return check.fail(NO_DPOP, DPOP_FIX)
      return check.unknown(answer.why, READ_FIX)
    })
    return [...blind, ...(await Promise.all(others)).flat()]
  }
  const client = at(answer.json, 'settings', 'oauthClient')
  return [
    checkOwn(own, answer.json, app),
    checkDpop(app, client, own.reads),
    checkExchange(upstream, client, own.reads),
    await checkZone(app, at(client, 'network'), own.reads),
    ...(await Promise.all(others)).flat()
  ]
}

function checkOwn (check: Check, json: unknown, { sharedWith }: AppInQuestion): Finding {
  const faults: string[] = []
  if (at(json, 'settings', 'oauthClient', 'application_type') !== 'service') faults.push('it is no API service app')
  if (at(json, 'status') !== 'ACTIVE') faults.push('it is not active')
  if (sharedWith.length > 0) faults.push(`the upstreams ${sharedWith.join(', ')} use it, too`)
  return check.of(faults, 'make an API service app for this gate and nothing else', 'an API service app; whether something outside of this configuration uses it, too, Okta cannot tell')
}

function checkDpop ({ upstream, dpop }: AppInQuestion, client: unknown, reads: readonly string[]): Finding {
  const check = new Check('service-app-dpop', upstream, 5)
  check.reads.push(...reads)
  const faults: string[] = []
  if (at(client, 'dpop_bound_access_tokens') !== true) faults.push('the app takes unbound tokens, too')
  if (!dpop) faults.push(NO_DPOP)
  return check.of(faults, DPOP_FIX, 'tokens are bound to a key of the process')
}

function checkExchange (upstream: string, client: unknown, reads: readonly string[]): Finding {
  const check = new Check('service-app-token-exchange', upstream, 6)
  check.reads.push(...reads)
  const grants = at(client, 'grant_types')
  if (!Array.isArray(grants)) return check.unknown('the app shows no grant types')
  return check.of(grants.includes(EXCHANGE) ? ['token exchange is on'] : [], 'take the token exchange grant away', 'token exchange is off')
}

/** Rule 2, both ways: what is granted and not needed, what is needed and not granted. */
async function checkScopes ({ upstream, reader, id, scopes }: AppInQuestion): Promise<Finding[]> {
  const minimal = new Check('service-app-scopes-minimal', upstream, 2)
  const enough = new Check('service-app-scopes-granted', upstream, 2)
  const answer = await reader.read(minimal, 'listScopeConsentGrants', `/api/v1/apps/${id}/grants`)
  enough.reads.push(...minimal.reads)
  const list = listOf(answer)
  if (list === undefined) return [minimal, enough].map(check => check.unknown(whyOf(answer), READ_FIX))
  const granted = new Set(list.filter(grant => (at(grant, 'status') ?? 'ACTIVE') === 'ACTIVE').map(grant => String(at(grant, 'scopeId'))))
  const covers = (scope: string): boolean => granted.has(scope) || (scope.endsWith('.read') && granted.has(scope.replace(/\.read$/, '.manage')))
  return [
    minimal.of([...granted].filter(scope => !scopes.includes(scope)).map(scope => `${scope} is granted, and no policy needs it`), 'revoke these grants', `${granted.size} granted, all of them needed`),
    enough.of(scopes.filter(scope => !covers(scope)).map(scope => `${scope} is needed, and not granted`), 'grant them, or take out the rules that need them', `${scopes.length} needed, all of them granted`)
  ]
}

/** New apps must not become super administrators by themselves. */
async function checkPrivileges (upstream: string, reader: OrgReader): Promise<Finding> {
  const check = new Check('org-client-privileges', upstream, 4)
  const answer = await reader.read(check, 'getClientPrivilegesSetting', '/api/v1/org/settings/clientPrivilegesSetting')
  if ('why' in answer) return check.unknown(answer.why, READ_FIX)
  const faults = at(answer.json, 'clientPrivilegesSetting') === true ? ['the org makes each new service app a super administrator'] : []
  return check.of(faults, 'switch that off: Settings > Account > Public client app admins', 'new apps get no role by themselves')
}

export interface TokenInQuestion extends Omit<Principal, 'id'> {
  /** the token's owner, as `users/me` shows it to the token; undefined: it could not be read */
  readonly owner: unknown
  /** the list of API tokens as it was before this run has used the token */
  readonly listed: Awaited<ReturnType<OrgReader['read']>>
  readonly listedReads: readonly string[]
  readonly exception: { readonly ticket: string, readonly expiresAt: number }
  /** epoch milliseconds */
  readonly now: number
}

/** Rules 8 to 13, for an API token. */
export async function checkApiToken (token: TokenInQuestion): Promise<Finding[]> {
  const { upstream, kind, reader, owner, listed, now } = token
  const id = at(owner, 'id')
  const exception = new Check(`${kind}-exception`, upstream)
  const ends = new Date(token.exception.expiresAt).toISOString().slice(0, 10)
  const findings = [token.exception.expiresAt <= now ? exception.fail(`the exception ${token.exception.ticket} has ended`, 'renew the exception, or change to a service app') : exception.pass(`${token.exception.ticket}, until ${ends}`)]
  if (typeof id !== 'string') return findings
  const tokens = listOf(listed)?.filter(one => at(one, 'userId') === id)
  const window = async (rule: number, name: string, judge: (check: Check, own: readonly unknown[]) => Promise<Finding> | Finding): Promise<Finding> => {
    const check = new Check(`${kind}-${name}`, upstream, rule)
    check.reads.push(...token.listedReads)
    return tokens === undefined ? check.unknown(whyOf(listed), READ_FIX) : await judge(check, tokens)
  }
  const principal = { ...token, id }
  return [
    ...findings,
    checkOwner(token),
    await window(10, 'zone', async (check, own) => own.length === 0 ? check.unknown('the token is not in the list') : await worst(own.map(async one => await checkZone(principal, at(one, 'network'), check.reads)))),
    await window(12, 'idle', (check, own) => check.of(own.flatMap(one => idleFault(one, now)), 'use it, or revoke it: Okta drops it after 30 days', 'used within the last 20 days')),
    await window(11, 'single', (check, own) => check.of(own.length > 1 ? [`its owner has ${own.length} API tokens`] : [], 'keep one token per service account, and revoke the others', 'its owner has no other API token')),
    await checkSignIn(upstream, kind, reader, id, now),
    await checkPrincipalLimit(principal, (tokens ?? []).map(one => String(at(one, 'id')))),
    ...await checkRoles(principal)
  ]
}

/** Which of its owner's tokens is this one cannot be seen: all of them have to be well. */
async function worst (all: ReadonlyArray<Promise<Finding>>): Promise<Finding> {
  const found = await Promise.all(all)
  return found.find(one => one.verdict === 'fail') ?? found.find(one => one.verdict === 'unknown') ?? found[0]!
}

function checkOwner ({ upstream, kind, owner }: TokenInQuestion): Finding {
  const check = new Check(`${kind}-owner`, upstream, 8)
  check.reads.push('getUser (okta.users.read)')
  const login = String(at(owner, 'profile', 'login'))
  const type = String(at(owner, 'profile', 'userType') ?? '')
  if (at(owner, 'status') !== undefined && at(owner, 'status') !== 'ACTIVE') return check.fail('its owner is not active', 'the token dies with its owner: make a new one')
  return SERVICE_LOGIN.test(login) || /service|bot|non-?human|system/i.test(type)
    ? check.pass(`${login} is called like a service account; Okta has no mark for one`)
    : check.fail(`${login} is called like a person`, 'make the token as a service account (svc-…, or userType "service")')
}

function idleFault (token: unknown, now: number): string[] {
  const last = Date.parse(String(at(token, 'lastUpdated')))
  const days = Math.floor((now - last) / DAY_MS)
  return days > 20 ? [`it has not been used for ${days} days`] : []
}

/** Rule 11: nobody signs in as the owner. The System Log keeps 90 days; a month shows what is usual. */
async function checkSignIn (upstream: string, kind: string, reader: OrgReader, id: string, now: number): Promise<Finding> {
  const check = new Check(`${kind}-sign-in`, upstream, 11)
  const filter = `actor.id eq "${id}" and eventType eq "user.session.start"`
  const since = new Date(now - 30 * DAY_MS).toISOString()
  const answer = await reader.read(check, 'listLogEvents', `/api/v1/logs?since=${encodeURIComponent(since)}&filter=${encodeURIComponent(filter)}&limit=100`)
  const events = listOf(answer)
  if (events === undefined) return check.unknown(whyOf(answer), READ_FIX)
  const signedIn = events.filter(event => at(event, 'outcome', 'result') === 'SUCCESS').length
  return check.of(signedIn > 0 ? [`somebody has signed in as its owner ${signedIn} times in 30 days`] : [], 'deny interactive sign-in to the service account by policy', 'nobody has signed in as its owner in 30 days')
}
