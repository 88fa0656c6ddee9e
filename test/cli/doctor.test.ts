import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { JWK } from 'jose'
import t from 'tap'
import { AUDITOR_SCOPES } from '../../src/cli/doctor.js'
import { addRole } from '../../src/emulator/apps.js'
import { startEmulator, type Emulator } from '../../src/emulator/server.js'
import type { App, User } from '../../src/emulator/state.js'
import { makeCertificate } from '../upstream/certificates.js'
import { narrowgate } from './shell.js'

interface Finding { readonly check: string, readonly verdict: string, readonly what: string, readonly fix?: string, readonly reads: string[], readonly upstream?: string }

const GATE = '0oa1narrowgatetest05'
const AUDITOR = '0oa1auditorxxxtest05'
const DAY_MS = 86_400_000
const newPair = (): { pem: string, jwk: JWK } => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { pem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, jwk: createPublicKey(privateKey).export({ format: 'jwk' }) as JWK }
}
const [gateKey, auditorKey] = [newPair(), newPair()]
const authority = makeCertificate({ commonName: 'test authority', authority: true })
const certificate = makeCertificate({ commonName: 'okta', names: ['127.0.0.1'], issuer: authority })
const POLICY = `version: 1
client: portal
owner: portal@example.com
description: what the tests' portal does
expires: 2099-01-01
networks: [127.0.0.1/32]
authenticate: [{ apiKey: { sha256: ${'a'.repeat(64)} } }]
allow:
  - operation: activateUser
  - operation: suspendUser
`

/** The org, and the files of the gate, as a test may spoil them. */
interface Setting { readonly emulator: Emulator, readonly app: App, readonly owner: User, readonly zone: string, readonly role: string, readonly set: string, config: string, policy: string }
type Spoil = (setting: Setting) => void

/** An org that keeps every rule: one service app, one service account with one token, one zone, a custom role each. */
async function examine (t: { teardown: (end: () => unknown) => void }, kind: 'serviceApp' | 'apiToken', spoil: Spoil = () => {}, flags: string[] = ['--as', AUDITOR, '--key', 'auditor.pem']) {
  const emulator = await startEmulator({
    tls: { cert: certificate.cert, key: certificate.key },
    serviceApps: [{ clientId: GATE, jwks: { keys: [gateKey.jwk] }, scopes: ['okta.users.manage'], dpop: true }, { clientId: AUDITOR, jwks: { keys: [auditorKey.jwk] }, scopes: AUDITOR_SCOPES }],
    apiTokens: kind === 'apiToken' ? [{ token: '00token' }] : [],
    users: 3,
    rateLimitScale: 10
  })
  t.teardown(() => emulator.close())
  const { org } = emulator
  const now = Date.now()
  const zone = org.identify('nzo')
  org.zones.set(zone, { id: zone, type: 'IP', name: 'Gate', status: 'ACTIVE', gateways: [{ type: 'CIDR', value: '203.0.113.7/32' }] })
  const [role, set] = [org.identify('cr0'), org.identify('iam')]
  org.customRoles.set(role, { id: role, label: 'Gate', permissions: ['okta.users.lifecycle.activate', 'okta.users.lifecycle.suspend'] })
  const app = org.apps.get(GATE)!
  const owner = [...org.users.values()].find(user => user.profile['login'] === 'svc-narrowgate@example.com')!
  owner.roles.clear()
  oauthClient(app)['network'] = { connection: 'ZONE', include: [zone] }
  for (const token of org.apiTokens.values()) token.network = { connection: 'ZONE', include: [zone] }
  const href = kind === 'serviceApp' ? `${org.origin}/oauth2/v1/clients/${GATE}` : `${org.origin}/api/v1/users/${owner.id}`
  org.resourceSets.set(set, { id: set, label: 'Gate', resources: [{ id: 'ire1', orn: 'orn:okta:directory:00o1:users' }], bindings: [{ id: role, members: [{ id: 'irb1', _links: { self: { href } } }] }] })
  if (kind === 'serviceApp') addRole(org, app.roles, 'CLIENT', { type: 'CUSTOM', label: 'Gate', role, 'resource-set': set }, now)
  else addRole(org, owner.roles, 'USER', { type: 'CUSTOM', label: 'Gate', role, 'resource-set': set }, now)

  const folder = mkdtempSync(join(tmpdir(), 'narrowgate-doctor-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const credential = kind === 'serviceApp' ? `serviceApp: { clientId: ${GATE}, keys: [{ file: gate.pem }], dpop: true }` : 'apiToken: { value: { file: token }, exception: { ticket: SEC-1, approvedBy: tests, expires: 2099-01-01 } }'
  const setting: Setting = { emulator, app, owner, zone, role, set, policy: POLICY, config: `publicUrl: https://gate.example.com\nupstreams:\n  default:\n    org: ${emulator.url}\n    ca: { file: ca.pem }\n    credential: { ${credential} }\n` }
  spoil(setting)
  for (const [name, text] of Object.entries({ 'narrowgate.yaml': setting.config, 'policies/portal.yaml': setting.policy, 'ca.pem': authority.cert, 'gate.pem': gateKey.pem, 'auditor.pem': auditorKey.pem, token: '00token' })) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text, { mode: 0o600 })
  }
  const argv = ['doctor', '-c', join(folder, 'narrowgate.yaml'), ...flags.map(flag => flag.endsWith('.pem') ? join(folder, flag) : flag)]
  const { code, out, err } = await narrowgate(argv, { now: Date.now() })
  return { code, out, err, emulator, findings: flags.includes('--json') || out.startsWith('{') ? (JSON.parse(out) as { findings: Finding[] }).findings : [] }
}

const oauthClient = (app: App): Record<string, unknown> => (app.document['settings'] as { oauthClient: Record<string, unknown> }).oauthClient
const principalLimit = ({ emulator }: Setting, id: string): Record<string, unknown> => [...emulator.org.principalLimits.values()].find(limit => limit['principalId'] === id)!
const JSON_FLAGS = ['--as', AUDITOR, '--key', 'auditor.pem', '--json']
const notPassed = (findings: Finding[]): string[] => findings.filter(({ verdict }) => verdict !== 'pass').map(({ check, verdict }) => `${check} ${verdict}`)

const POLICY_FAULTS: Array<[string, Spoil, string]> = [
  ['a policy without an owner\'s last day', setting => { setting.policy = setting.policy.replace(/expires.*\n/, '') }, 'policies-expiry'],
  ['a client that is only observed', setting => { setting.policy = setting.policy.replace('authenticate:', 'mode: observe\nauthenticate:') }, 'policies-enforced'],
  ['a client without networks', setting => { setting.policy = setting.policy.replace(/networks.*\n/, '') }, 'policies-networks'],
  ['a ceiling above half', setting => { setting.config += 'limits: { ceiling: 60% }\n' }, 'limits-ceiling']
]

const APP_FAULTS: Array<[string, Spoil, string]> = [
  ['no service app', ({ app }) => { oauthClient(app)['application_type'] = 'web' }, 'service-app'],
  ['a scope too many', ({ emulator, app }) => { app.grants.set('x', { id: 'x', status: 'ACTIVE', scopeId: 'okta.groups.manage', issuer: emulator.url }) }, 'service-app-scopes-minimal'],
  ['a scope too few', setting => { setting.policy += '  - operation: listNetworkZones\n' }, 'service-app-scopes-granted'],
  ['a role that comes from a group', ({ app }) => { const [role] = app.roles.values(); app.roles.set(role!.id, { ...role!, assignmentType: 'GROUP' as never }) }, 'service-app-role'],
  ['a custom role that somebody else holds', ({ emulator, set, role }) => { emulator.org.resourceSets.get(set)!['bindings'] = [{ id: role, members: [{ id: 'irb1', _links: { self: { href: `/oauth2/v1/clients/${GATE}` } } }, { id: 'irb2', _links: { self: { href: '/api/v1/users/00uother' } } }] }] }, 'service-app-role'],
  ['no role', ({ app }) => { app.roles.clear() }, 'service-app-role'],
  ['a permission too many', ({ emulator, role }) => { (emulator.org.customRoles.get(role)!['permissions'] as string[]).push('okta.users.lifecycle.deactivate') }, 'service-app-role-minimal'],
  ['a standard role', ({ emulator, app }) => { addRole(emulator.org, app.roles, 'CLIENT', { type: 'USER_ADMIN', label: 'Group Administrator' }, Date.now()) }, 'service-app-role-minimal'],
  ['a kind of resource too many', ({ emulator, set }) => { (emulator.org.resourceSets.get(set)!['resources'] as object[]).push({ id: 'ire2', orn: 'orn:okta:idp:00o1:apps' }) }, 'service-app-role-minimal'],
  ['a super administrator', ({ emulator, app }) => { addRole(emulator.org, app.roles, 'CLIENT', { type: 'SUPER_ADMIN', label: 'Super Administrator' }, Date.now()) }, 'service-app-no-super-admin'],
  ['new apps that become super administrators', ({ emulator }) => { emulator.org.settings.clientPrivileges = true }, 'org-client-privileges'],
  ['an app that takes unbound tokens', ({ app }) => { oauthClient(app)['dpop_bound_access_tokens'] = false }, 'service-app-dpop'],
  ['token exchange', ({ app }) => { oauthClient(app)['grant_types'] = ['client_credentials', 'urn:ietf:params:oauth:grant-type:token-exchange'] }, 'service-app-token-exchange'],
  ['no zone', ({ app }) => { oauthClient(app)['network'] = { connection: 'ANYWHERE' } }, 'service-app-zone'],
  ['a zone of the whole world', ({ emulator, zone }) => { emulator.org.zones.get(zone)!['gateways'] = [{ type: 'CIDR', value: '0.0.0.0/0' }] }, 'service-app-zone'],
  ['a zone of the whole world in two halves', ({ emulator, zone }) => { emulator.org.zones.get(zone)!['gateways'] = [{ type: 'CIDR', value: '0.0.0.0/1' }, { type: 'RANGE', value: '128.0.0.0-255.255.255.255' }] }, 'service-app-zone'],
  ['a zone of many ranges, each of them small', ({ emulator, zone }) => { emulator.org.zones.get(zone)!['gateways'] = Array.from({ length: 9 }, (_, i) => ({ type: 'CIDR', value: `10.${i}.0.0/17` })) }, 'service-app-zone'],
  ['a zone of all IPv6 addresses', ({ emulator, zone }) => { emulator.org.zones.get(zone)!['gateways'] = [{ type: 'CIDR', value: '::/0' }] }, 'service-app-zone'],
  ['a zone that is off', ({ emulator, zone }) => { emulator.org.zones.get(zone)!['status'] = 'INACTIVE' }, 'service-app-zone'],
  ['a zone with a long list', ({ emulator, zone }) => { emulator.org.zones.get(zone)!['gateways'] = Array.from({ length: 60 }, (_, i) => ({ type: 'CIDR', value: `203.0.113.${i}/32` })) }, 'service-app-zone'],
  ['more than half of the limits', setting => { principalLimit(setting, GATE)['defaultPercentage'] = 80 }, 'service-app-rate-limit'],
  ['a key that Okta does not know', ({ app }) => { app.jwks.keys.length = 0 }, 'token']
]

const TOKEN_FAULTS: Array<[string, Spoil, string]> = [
  ['an owner who is a person', ({ emulator, owner }) => { owner.profile['login'] = 'ann@example.com'; owner.json = undefined; emulator.org.logins.set('ann@example.com', owner.id) }, 'api-token-owner'],
  ['two tokens of one owner', ({ emulator, owner, zone }) => { const [first] = emulator.org.apiTokens.values(); emulator.org.apiTokens.set('00Tsecond', { ...first!, id: '00Tsecond', value: 'second', userId: owner.id, network: { connection: 'ZONE', include: [zone] } }) }, 'api-token-single'],
  ['a token that works from anywhere', ({ emulator }) => { for (const token of emulator.org.apiTokens.values()) token.network = { connection: 'ANYWHERE' } }, 'api-token-zone'],
  ['a token that lies idle', ({ emulator }) => { for (const token of emulator.org.apiTokens.values()) token.lastUsed -= 25 * DAY_MS }, 'api-token-idle'],
  ['an owner who signs in', ({ emulator, owner }) => { emulator.org.log.push({ uuid: 'e1', published: new Date().toISOString(), eventType: 'user.session.start', actor: { id: owner.id, type: 'User' }, outcome: { result: 'SUCCESS' }, transaction: { detail: {} } }) }, 'api-token-sign-in'],
  ['an owner who is a super administrator', ({ emulator, owner }) => { addRole(emulator.org, owner.roles, 'USER', { type: 'SUPER_ADMIN', label: 'Super Administrator' }, Date.now()) }, 'api-token-no-super-admin'],
  ['a permission too many', ({ emulator, role }) => { (emulator.org.customRoles.get(role)!['permissions'] as string[]).push('okta.users.create') }, 'api-token-role-minimal'],
  ['a role that comes from a group', ({ owner }) => { const [role] = owner.roles.values(); owner.roles.set(role!.id, { ...role!, assignmentType: 'GROUP' as never }) }, 'api-token-role'],
  ['more than half of the limits', setting => { principalLimit(setting, [...setting.emulator.org.apiTokens.keys()][0]!)['defaultConcurrencyPercentage'] = 100 }, 'api-token-rate-limit'],
  ['an exception that has ended', setting => { setting.config = setting.config.replace('2099-01-01 } }', '2026-01-01 } }') }, 'api-token-exception'],
  ['a token that Okta refuses', ({ emulator }) => { emulator.revokeToken('00token') }, 'api-token-works']
]

for (const [kind, faults] of [['serviceApp', [...POLICY_FAULTS, ...APP_FAULTS]], ['apiToken', TOKEN_FAULTS]] as const) {
  t.test(`an org that keeps every rule passes every check (${kind})`, async t => {
    const { code, findings, emulator } = await examine(t, kind, undefined, JSON_FLAGS)
    t.same(notPassed(findings), [])
    t.equal(code, 0)
    t.ok(findings.length > 12, `${findings.length} checks`)
    t.ok(findings.filter(({ upstream }) => upstream !== undefined).every(({ check, reads }) => reads.length > 0 || check.endsWith('-exception')), 'each says what it reads')
    t.ok(emulator.received.all.every(({ method, target }) => method === 'GET' || target === '/oauth2/v1/token'), 'nothing but reads')
  })

  t.test(`doctor finds exactly the planted fault (${kind})`, async t => {
    for (const [name, spoil, expected] of faults) {
      const { code, findings } = await examine(t, kind, spoil, JSON_FLAGS)
      t.same(findings.filter(({ verdict }) => verdict === 'fail').map(({ check }) => check), [expected], `${name}: ${findings.find(({ verdict }) => verdict === 'fail')?.what ?? ''}`)
      t.equal(code, 1, name)
      t.ok(findings.find(({ verdict }) => verdict === 'fail')?.fix, `${name}: how to fix it`)
    }
  })
}

t.test('a short list of addresses in every form is one', async t => {
  const { code, findings } = await examine(t, 'serviceApp', ({ emulator, zone }) => { emulator.org.zones.get(zone)!['gateways'] = ['203.0.113.7', '203.0.113.250-203.0.114.5', '198.51.100.0/24', '2001:db8::1', '2001:db8::1-2001:db8::ff', '2001:db8::/64'].map(value => ({ type: value.includes('-') ? 'RANGE' : 'CIDR', value })) }, JSON_FLAGS)
  t.same(notPassed(findings), [])
  t.equal(code, 0)
})

t.test('an org that breaks every rule fails every check', async t => {
  const each = (faults: typeof APP_FAULTS, ...but: string[]): { spoil: Spoil, expected: string[] } => {
    const meant = faults.filter(([name]) => !but.includes(name))
    return { spoil: setting => { for (const [, spoil] of meant) spoil(setting) }, expected: [...new Set(meant.map(([, , check]) => check))].sort() }
  }
  for (const [kind, { spoil, expected }] of [
    ['serviceApp', each([...POLICY_FAULTS, ...APP_FAULTS], 'no service app', 'no role', 'a key that Okta does not know', 'a zone that is off', 'no zone')],
    ['apiToken', each([...POLICY_FAULTS, ...TOKEN_FAULTS], 'a token that Okta refuses')]
  ] as const) {
    const { code, findings } = await examine(t, kind, spoil, JSON_FLAGS)
    t.same([...new Set(findings.filter(({ verdict }) => verdict === 'fail').map(({ check }) => check))].sort(), expected, kind)
    t.equal(code, 1)
    const { out } = await examine(t, kind, spoil, ['--as', AUDITOR, '--key', 'auditor.pem'])
    for (const check of expected) t.match(out, new RegExp(`FAIL\\s+${check} `), `${check} in the table`)
  }
})

t.test('without an auditor it says what it could not see, and what to do about it', async t => {
  const { code, out, err } = await examine(t, 'serviceApp', undefined, [])
  t.equal(code, 0, err)
  t.match(out, /\?\s+service-app-zone .*rule 7 .*getApplication could not be read: Okta answers 403; reading it takes okta\.apps\.read/)
  t.match(out, /→ run doctor with the credential of an auditor/)
  t.match(out, /pass\s+token /)
  t.match(out, /checks: \d+ passed, 0 failed, \d+ can't be told/)
})

t.test('a configuration without DPoP is a fault that needs no eyes of an auditor, and a token refused for it says what to write', async t => {
  const without = (setting: Setting): void => { setting.config = setting.config.replace(', dpop: true', '') }
  const required = await examine(t, 'serviceApp', without, ['--json'])
  t.match(required.findings.filter(({ verdict }) => verdict === 'fail'), [{ check: 'token', fix: /write dpop: true/ }, { check: 'service-app-dpop', fix: /write dpop: true/ }])
  const optional = await examine(t, 'serviceApp', setting => { without(setting); setting.app.dpop = false }, ['--json'])
  t.match(optional.findings.filter(({ verdict }) => verdict === 'fail'), [{ check: 'service-app-dpop', what: /does not say dpop: true/ }])
})

t.test('an org that cannot be verified, flags that do not fit', async t => {
  const { code, findings } = await examine(t, 'serviceApp', setting => { setting.config = setting.config.replace(/ {4}ca:.*\n/, '') }, JSON_FLAGS)
  t.equal(code, 1)
  t.match(findings.filter(({ verdict }) => verdict === 'fail'), [{ check: 'connection', what: /SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE/ }])
  t.match(await narrowgate(['doctor', '-c', '/nowhere/narrowgate.yaml', '--as', 'x']), { code: 2, err: /--as and --key go together/ })
  t.match(await narrowgate(['doctor', '-c', '/nowhere/narrowgate.yaml']), { code: 2, err: /would not load/ })
})
