import type { Pool } from 'undici'
import type { Config, SecretReference, TokenConfig, UpstreamConfig } from '../config/config.js'
import { formatProblem, hasErrors } from '../domain/problem.js'
import { Secret } from '../domain/secret.js'
import { scopesFor } from '../okta/permissions.js'
import { entitlements } from '../policy/entitlements.js'
import type { PolicySet } from '../policy/load.js'
import { neededOperations } from '../policy/needed.js'
import type { Loaded } from '../server/load.js'
import { loadForCalls } from './files.js'
import { createUpstreamPool } from '../upstream/agent.js'
import { createApiToken } from '../upstream/api-token.js'
import { CredentialFault, type CredentialProvider } from '../upstream/credential.js'
import { createServiceApp, type ServiceApp } from '../upstream/service-app.js'
import { checkApiToken, checkServiceApp } from './doctor-credential.js'
import { Check, type Finding } from './doctor-finding.js'
import { get, OrgReader } from './doctor-org.js'
import type { Principal } from './doctor-principal.js'
import { findingsText } from './doctor-text.js'
import { EXIT } from './exit.js'
import type { Shell } from './shell.js'
import { painter } from './style.js'
import { readText } from './text-file.js'
import { UsageFault } from './usage.js'

export interface DoctorOptions {
  readonly config: string
  /** client id of an auditor: a service app that may read what the gate may not */
  readonly as?: string
  /** its private key, a file */
  readonly key?: string
  readonly upstream?: string
  readonly json?: boolean
}

/** What the checks read; an auditor needs these, the gate itself should have none of them. */
export const AUDITOR_SCOPES = ['okta.apiTokens.read', 'okta.appGrants.read', 'okta.apps.read', 'okta.logs.read', 'okta.networkZones.read', 'okta.orgs.read', 'okta.principalRateLimits.read', 'okta.roles.read', 'okta.users.read']
/** Okta's assertions and proofs are good for minutes. */
const MOST_SKEW_MS = 60_000

/**
 * `narrowgate doctor`: connects to each org with the gate's own credential and checks it against the hardening rules.
 * Every call is a read.
 *
 * @returns 0; 1 when a check fails; what can't be told is no failure
 */
export async function doctor (shell: Shell, options: DoctorOptions): Promise<number> {
  if ((options.as === undefined) !== (options.key === undefined)) throw new UsageFault('--as and --key go together: the client id of an auditor, and its private key')
  const auditorKey = options.key === undefined ? undefined : new Secret(await readText(options.key, '--key'))
  const loaded = await loadForCalls(shell, options.config)
  const { config, policies } = loaded
  if (config === undefined || policies === undefined || hasErrors(loaded.problems)) {
    for (const problem of loaded.problems) shell.terminal.err(`${formatProblem(problem)}\n`)
    throw new UsageFault('these files would not load: run `narrowgate check`')
  }
  if (options.upstream !== undefined && !config.upstreams.has(options.upstream)) throw new UsageFault(`there is no upstream ${JSON.stringify(options.upstream)}`)
  const upstreams = [...config.upstreams.values()].filter(({ name }) => options.upstream === undefined || options.upstream === name)
  const auditor = options.as === undefined ? undefined : { clientId: options.as, key: auditorKey! }
  const findings = [...checkPolicies(policies, config), ...(await Promise.all(upstreams.map(async upstream => await examine({ upstream, config, policies, loaded, auditor, now: shell.now })))).flat()]
  const { terminal } = shell
  terminal.out(options.json === true ? `${JSON.stringify({ findings, counts: countsOf(findings) }, null, 2)}\n` : findingsText(findings, countsOf(findings), painter(terminal.color)))
  return findings.some(({ verdict }) => verdict === 'fail') ? EXIT.findings : EXIT.fine
}

/** How many findings of each kind. */
export function countsOf (findings: readonly Finding[]): Record<Finding['verdict'], number> {
  const counts = { pass: 0, fail: 0, unknown: 0 }
  for (const { verdict } of findings) counts[verdict]++
  return counts
}

function checkPolicies ({ clients }: PolicySet, { limits }: Config): Finding[] {
  const all = [...clients.values()]
  const say = (name: string, lacking: (policy: typeof all[number]) => boolean, what: string, fix: string, well: string): Finding =>
    new Check(name, undefined).of(all.filter(lacking).map(({ client }) => `${client} ${what}`), fix, well)
  return [
    say('policies-owner', policy => policy.owner.trim() === '', 'has no owner', 'write owner:', `${all.length} clients, each with an owner`),
    say('policies-expiry', policy => policy.expiresAt === undefined, 'never expires', 'write expires:', 'every policy ends some day'),
    say('policies-enforced', policy => policy.mode === 'observe', 'is only observed', 'write mode: enforce', 'every policy is enforced'),
    say('policies-networks', policy => policy.networks === undefined, 'may call from anywhere', 'write networks:', 'every client has its networks'),
    new Check('limits-ceiling', undefined, 14).of(limits.ceiling > 0.5 ? [`the gate lets ${limits.ceiling * 100}% of Okta's limits through`] : [], 'write limits: { ceiling: 50% }', `the gate lets ${limits.ceiling * 100}% of Okta's limits through`)
  ]
}

interface Patient { readonly upstream: UpstreamConfig, readonly config: Config, readonly policies: PolicySet, readonly loaded: Loaded, readonly auditor?: { readonly clientId: string, readonly key: Secret }, readonly now: () => number }

async function examine (patient: Patient): Promise<Finding[]> {
  const { upstream, loaded } = patient
  const ca = upstream.ca === undefined ? undefined : [secretOf(loaded, upstream.ca).reveal()]
  const { proxy } = upstream
  const authorization = proxy?.authorization === undefined ? undefined : secretOf(loaded, proxy.authorization)
  const pool = createUpstreamPool({ org: upstream.org, ca, connections: 4, connectMs: upstream.timeouts.connectMs, headersMs: 15_000, idleMs: 15_000, proxy: proxy === undefined ? undefined : { url: proxy.url, authorization: authorization === undefined ? undefined : () => authorization } })
  const opened: CredentialProvider[] = []
  try {
    const connection = await checkConnection(upstream, pool, patient.now)
    if (connection.some(({ check, verdict }) => check === 'connection' && verdict === 'fail')) return connection
    return [...connection, ...await examineCredentials(patient, pool, opened)]
  } finally {
    for (const provider of opened) provider.close()
    await pool.destroy()
  }
}

/** TLS, name and clock, from an answer that needs no credential. */
async function checkConnection ({ name, org }: UpstreamConfig, pool: Pool, now: () => number): Promise<Finding[]> {
  const connection = new Check('connection', name)
  const clock = new Check('clock', name)
  connection.reads.push('getWellknownOrgMetadata')
  clock.reads.push('getWellknownOrgMetadata')
  try {
    const answer = await get(pool, '/.well-known/okta-organization')
    const there = answer?.date === undefined ? NaN : Date.parse(answer.date)
    const skew = Math.abs(there - now())
    return [
      org.startsWith('https:') ? connection.pass(`${org} answers; its certificate chain and name are verified`) : connection.unknown(`${org} answers, in plain HTTP`, 'only for tests on this machine'),
      Number.isNaN(skew) ? clock.unknown('the answer has no date') : clock.of(skew > MOST_SKEW_MS ? [`this machine's clock is ${Math.round(skew / 1000)} s off`] : [], 'keep the clock by NTP: assertions and proofs carry the time', 'in step with Okta\'s')
    ]
  } catch (error) {
    const code = String((error as { code?: unknown }).code ?? 'no answer')
    return [connection.fail(`${org} can't be reached and verified (${code})`, 'look at the address, `ca`, `proxy` and what stands between'), clock.unknown('there was no answer')]
  }
}

async function examineCredentials (patient: Patient, pool: Pool, opened: CredentialProvider[]): Promise<Finding[]> {
  const { upstream, policies, auditor } = patient
  const { credential, authnToken } = upstream
  const auditing = auditor === undefined ? undefined : openApp(patient, pool, opened, { clientId: auditor.clientId, keys: [auditor.key], scopes: AUDITOR_SCOPES, dpop: false })
  const findings: Finding[] = []
  let reads: CredentialProvider | undefined = auditing === undefined ? undefined : await auditorOf(patient, pool, opened, auditing)
  if (credential.kind === 'serviceApp') {
    const needed = [...neededOperations(policies.clients.values())].filter(one => one.upstream === upstream.name && one.credential === 'upstream').map(one => one.operation)
    const scopes = credential.scopes === 'auto' ? scopesFor(needed) : credential.scopes
    const keys = credential.keys.map(reference => secretOf(patient.loaded, reference))
    // Its own extra scopes, where it has them, are how the gate's own app can answer without an auditor.
    const app = openApp(patient, pool, opened, { clientId: credential.clientId, keys, scopes: auditing === undefined ? [...new Set([...scopes, ...AUDITOR_SCOPES])] : scopes, dpop: credential.dpop })
    findings.push(await checkToken(upstream.name, app, scopes))
    reads ??= app
    const sharedWith = [...patient.config.upstreams.values()].filter(other => other.name !== upstream.name && other.org === upstream.org && other.credential.kind === 'serviceApp' && other.credential.clientId === credential.clientId).map(({ name }) => name)
    const reader = new OrgReader(pool, policies.catalog, reads)
    findings.push(...await checkServiceApp({ upstream: upstream.name, reader, kind: 'service-app', id: credential.clientId, needed: neededRights(patient, 'upstream'), dpop: credential.dpop, scopes, sharedWith }))
  }
  for (const [kind, token, use] of [['api-token', credential.kind === 'apiToken' ? credential : undefined, 'upstream'], ['authn-token', authnToken, 'authnToken']] as const) {
    if (token !== undefined) findings.push(...await examineToken(patient, pool, { kind, token, use, reads, opened }))
  }
  return findings
}

function openApp ({ upstream, now }: Patient, pool: Pool, opened: CredentialProvider[], app: { clientId: string, keys: readonly Secret[], scopes: readonly string[], dpop: boolean }): ServiceApp {
  const after = (ms: number, callback: () => void): (() => void) => { const timer = setTimeout(callback, ms).unref(); return () => { clearTimeout(timer) } }
  const made = createServiceApp({ ...app, dispatcher: pool, org: upstream.org, keys: () => app.keys, clock: { now, monotonic: () => performance.now(), random: Math.random, after } })
  opened.push(made)
  return made
}

/** An auditor's app may require DPoP or not: its own setting decides. */
async function auditorOf (patient: Patient, pool: Pool, opened: CredentialProvider[], plain: ServiceApp): Promise<CredentialProvider> {
  await plain.ready()
  const { available, lastErrorDetail } = plain.status()
  if (available || lastErrorDetail !== 'invalid_dpop_proof') return plain
  return openApp(patient, pool, opened, { clientId: patient.auditor!.clientId, keys: [patient.auditor!.key], scopes: AUDITOR_SCOPES, dpop: true })
}

/** What to do about the token endpoint's errors (facts.md, Service app token). */
const TOKEN_FIXES: ReadonlyMap<string, string> = new Map([
  ['invalid_client', 'register the public key, and look at clientId'],
  ['invalid_dpop_proof', 'the app requires DPoP: write dpop: true'],
  ['invalid_scope', 'grant the scopes that `narrowgate entitlements` lists'],
  ['access_denied', 'put the address that this machine calls from into the network zone of the app']
])

async function checkToken (upstream: string, app: ServiceApp, scopes: readonly string[]): Promise<Finding> {
  const check = new Check('token', upstream)
  check.reads.push('POST /oauth2/v1/token')
  await app.ready()
  const { available, lastError, lastErrorDetail, position, refusedScopes = [] } = app.status()
  if (!available) {
    const only = lastErrorDetail === 'invalid_scope' ? ' (no scope that the policies need is granted)' : ''
    return check.fail(`the token endpoint gives no token: ${String(lastError)} ${lastErrorDetail ?? ''}${only}`.trim(), TOKEN_FIXES.get(lastErrorDetail ?? '') ?? 'see docs/upstreams.md')
  }
  const missing = refusedScopes.filter(scope => scopes.includes(scope))
  if (position !== undefined && position > 1) return check.fail(`Okta refuses the first key; number ${position} serves`, 'register the public key of the first, or take it out')
  return check.pass(missing.length === 0 ? 'a token was granted' : `a token was granted, without ${missing.join(', ')}`)
}

async function examineToken (patient: Patient, pool: Pool, { kind, token, use, reads, opened }: { kind: string, token: TokenConfig, use: 'upstream' | 'authnToken', reads: CredentialProvider | undefined, opened: CredentialProvider[] }): Promise<Finding[]> {
  const { upstream, policies, loaded, now } = patient
  const own = createApiToken({ token: () => secretOf(loaded, token.value), exceptionExpiresAt: Infinity, now })
  opened.push(own)
  const reader = new OrgReader(pool, policies.catalog, reads ?? own)
  const check = new Check(`${kind}-works`, upstream.name)
  // Before anything uses the token: this shows when it was used last.
  const list = new Check('', upstream.name)
  const listed = await reader.read(list, 'listApiTokens', '/api/v1/api-tokens')
  check.reads.push('getUser')
  const presented = await own.get()
  if (presented instanceof CredentialFault) return [check.fail('it is empty or no token', 'look at the reference')]
  const me = await get(pool, '/api/v1/users/me', presented).catch(() => undefined)
  const owner = me?.status === 200 ? me.json : undefined
  const works = me === undefined ? check.unknown('Okta did not answer') : owner === undefined ? check.fail(`Okta answers ${me.status}`, 'make a new token: this one is dead, or may not be used from here') : check.pass('Okta accepts it')
  const principal = { upstream: upstream.name, reader, kind, needed: neededRights(patient, use) }
  return [works, ...await checkApiToken({ ...principal, owner, listed, listedReads: list.reads, exception: token.exception, now: now() })]
}

/** Admin permissions that the calls of one credential are known to need. */
function neededRights ({ upstream, policies }: Patient, use: 'upstream' | 'authnToken'): Principal['needed'] {
  const { rights } = entitlements([...policies.clients.values()].filter(policy => policy.upstream === upstream.name), policies.catalog)
  const mine = rights.filter(({ credentials }) => credentials.includes(use))
  const unsure = mine.filter(({ uses, specified }) => uses.length === 0 ? specified?.permissions === undefined : uses.some(({ permissions }) => permissions.certainty === 'unknown'))
  return {
    permissions: new Set(mine.flatMap(({ uses, specified }) => [...uses.flatMap(({ permissions }) => permissions.value), ...specified?.permissions ?? []])),
    unsure: unsure.map(({ operation }) => operation)
  }
}

function secretOf ({ secrets }: Loaded, reference: SecretReference): Secret {
  const secret = secrets.get(reference)
  if (secret === undefined) throw new UsageFault('a secret that the configuration names is not here')
  return secret
}
