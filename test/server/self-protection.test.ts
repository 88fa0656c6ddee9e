import { generateKeyPairSync } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { addRole } from '../../src/emulator/apps.js'
import { startEmulator, type Emulator } from '../../src/emulator/server.js'
import { client, request, startRig, until, UPSTREAM_TOKEN, type Rig } from '../support/gate.js'

const CLIENT_ID = '0oa1narrowgatetest05'
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const KEY = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
const OPERATIONS = [
  'getUser', 'listUsers', 'listApplications', 'deleteGroup', 'updateUser', 'replaceUser', 'deleteUser', 'deactivateUser', 'suspendUser', 'resetPassword', 'expirePassword', 'resetFactors', 'revokeUserSessions', 'listUserGroups', 'changePassword',
  'assignRoleToUser', 'unassignRoleFromUser', 'listAssignedRolesForUser', 'assignUserToGroup', 'unassignUserFromGroup', 'assignRoleToGroup', 'createGroupRule',
  'getApplication', 'replaceApplication', 'deleteApplication', 'deactivateApplication', 'grantConsentToScope', 'listScopeConsentGrants', 'addJwk', 'listJwk',
  'assignRoleToClient', 'deleteRoleFromClient', 'listRolesForClient', 'replaceRole', 'getRole', 'createRolePermission', 'addMembersToBinding', 'createResourceSetBinding', 'addResourceSetResource', 'deleteResourceSet',
  'listApiTokens', 'getApiToken', 'upsertApiToken', 'revokeApiToken', 'getNetworkZone', 'replaceNetworkZone', 'deleteNetworkZone', 'deactivateNetworkZone',
  'assignUserToApplication', 'createPrincipalRateLimitEntity', 'replacePrincipalRateLimitEntity', 'getPrincipalRateLimitEntity'
]
const bold = client('bold', `allow: [${OPERATIONS.map(operation => `{ operation: ${operation} }`).join(', ')}, { operation: authn }, { operation: authnRecoverPassword }]`)

interface World { readonly emulator: Emulator, readonly rig: Rig, readonly ids: Record<'user' | 'token' | 'zone' | 'role' | 'assignment' | 'set' | 'limit' | 'group' | 'other', string> }

async function world (t: { teardown: (end: () => unknown) => void }, kind: 'serviceApp' | 'apiToken'): Promise<World> {
  const scopes = ['users', 'groups', 'apps', 'appGrants', 'roles', 'apiTokens', 'networkZones', 'principalRateLimits'].map(name => `okta.${name}.manage`)
  const emulator = await startEmulator({
    serviceApps: [{ clientId: CLIENT_ID, jwks: { keys: [pair.publicKey.export({ format: 'jwk' }) as never] }, scopes }],
    apiTokens: [{ token: UPSTREAM_TOKEN }],
    rateLimitScale: 100
  })
  t.teardown(() => emulator.close())
  const { org } = emulator
  const now = Date.now()
  const [token] = org.apiTokens.values()
  const user = org.users.get(token!.userId)!
  const zone = org.identify('nzo')
  org.zones.set(zone, { id: zone, name: 'Gate', type: 'IP', gateways: [{ type: 'CIDR', value: '203.0.113.7/32' }] })
  token!.network = { connection: 'ZONE', include: [zone] }
  const app = org.apps.get(CLIENT_ID)!
  ;(app.document['settings'] as { oauthClient: Record<string, unknown> }).oauthClient['network'] = { connection: 'ZONE', include: [zone] }
  const [role, set] = [org.identify('cr0'), org.identify('iam')]
  org.customRoles.set(role, { id: role, label: 'Gate Role', description: '', permissions: [] })
  org.resourceSets.set(set, { id: set, label: 'Gate Set', resources: [], bindings: [] })
  const assigned = { type: 'CUSTOM', label: 'Gate Role', role, 'resource-set': set }
  const assignment = kind === 'serviceApp' ? addRole(org, app.roles, 'CLIENT', assigned, now) : addRole(org, user.roles, 'USER', assigned, now)
  const group = [...org.groups.values()].find(each => each.type === 'OKTA_GROUP')!
  group.members.add(user.id)
  const limit = [...org.principalLimits.values()].find(each => each['principalId'] === (kind === 'serviceApp' ? CLIENT_ID : token!.id))!
  const other = [...org.users.values()].find(each => each.id !== user.id)!
  const rig = await startRig(t, {
    org: emulator.url,
    policies: { 'bold.yaml': bold.text },
    credential: kind === 'serviceApp' ? `serviceApp: { clientId: ${CLIENT_ID}, keys: [{ file: key.pem }] }` : undefined,
    files: { 'key.pem': KEY },
    ownCalls: true
  })
  return { emulator, rig, ids: { user: user.id, token: token!.id, zone, role, assignment: assignment.id, set, limit: limit.id, group: group.id, other: other.id } }
}

type Attempt = readonly [line: string, body?: unknown, headers?: readonly string[]]

const onApp = ({ zone, role, assignment, set, limit, other }: World['ids']): Attempt[] => [
  [`GET /api/v1/apps/${CLIENT_ID}`],
  [`PUT /api/v1/apps/${CLIENT_ID}`, { label: 'mine' }],
  [`DELETE /api/v1/apps/${CLIENT_ID}`],
  [`POST /api/v1/apps/${CLIENT_ID}/lifecycle/deactivate`],
  [`POST /api/v1/apps/${CLIENT_ID.toUpperCase()}/lifecycle/deactivate`],
  [`POST /api/v1/apps/${CLIENT_ID}/grants`, { scopeId: 'okta.roles.manage' }],
  [`GET /api/v1/apps/${CLIENT_ID}/grants`],
  [`POST /api/v1/apps/${CLIENT_ID}/credentials/jwks`, { kty: 'EC' }],
  [`GET /api/v1/apps/${CLIENT_ID}/credentials/jwks`],
  [`POST /oauth2/v1/clients/${CLIENT_ID}/roles`, { type: 'SUPER_ADMIN' }],
  [`GET /oauth2/v1/clients/${CLIENT_ID}/roles`],
  [`DELETE /oauth2/v1/clients/${CLIENT_ID}/roles/${assignment}`],
  [`PUT /api/v1/iam/roles/${role}`, { label: 'x' }],
  ['PUT /api/v1/iam/roles/Gate%20Role', { label: 'x' }],
  [`POST /api/v1/iam/roles/${role}/permissions/okta.users.manage`],
  [`POST /api/v1/iam/resource-sets/${set}/resources`, { resourceOrnOrUrl: 'x' }],
  ['DELETE /api/v1/iam/resource-sets/gate%20set'],
  ['POST /api/v1/iam/resource-sets/other/bindings', { role: 'SUPER_ADMIN', members: [`https://acme.okta.com/oauth2/v1/clients/${CLIENT_ID}`] }],
  ['PATCH /api/v1/iam/resource-sets/other/bindings/USER_ADMIN/members', `{"additions":["orn:okta:x:clients:\\u0030${CLIENT_ID.slice(1)}"]}`],
  [`PUT /api/v1/zones/${zone}`, { name: 'x' }],
  [`DELETE /api/v1/zones/${zone}`],
  [`POST /api/v1/zones/${zone}/lifecycle/deactivate`],
  ['POST /api/v1/principal-rate-limits', { principalId: CLIENT_ID, principalType: 'OAUTH_CLIENT', defaultPercentage: 100 }],
  [`PUT /api/v1/principal-rate-limits/${limit}`, { defaultPercentage: 1 }],
  ['PUT /api/v1/principal-rate-limits/unknown', { principalId: CLIENT_ID, defaultPercentage: 1 }],
  ['POST /api/v1/principal-rate-limits', gzipSync('{}'), ['Content-Encoding: gzip']],
  [`PUT /api/v1/groups/00g1/users/${other}?next=${CLIENT_ID}`],
  ['DELETE /api/v1/api-tokens/current'],
  ['GET /api/v1/users/me'],
  ['POST /api/v1/users/me', { profile: {} }],
  [`POST /api/v1/apps/${CLIENT_ID}/credentials/secrets`, {}],
  [`GET /api/v1/apps/${CLIENT_ID}/credentials/keys`],
  [`DELETE /api/v1/apps/${CLIENT_ID}/credentials/jwks/pks1`],
  [`DELETE /api/v1/apps/${CLIENT_ID}/grants/oag1`],
  [`DELETE /api/v1/apps/${CLIENT_ID}/tokens`],
  [`PUT /api/v1/apps/${CLIENT_ID}/users/${other}`, {}],
  [`PUT /api/v1/apps/${CLIENT_ID}/groups/00g1`, {}],
  [`PUT /oauth2/v1/clients/${CLIENT_ID}`, { client_name: 'x' }],
  [`POST /oauth2/v1/clients/${CLIENT_ID}/lifecycle/newSecret`],
  [`DELETE /oauth2/v1/clients/${CLIENT_ID.toUpperCase()}/roles/${assignment}`],
  [`DELETE /api/v1/iam/roles/${role}`],
  [`DELETE /api/v1/iam/roles/${role}/permissions/okta.users.read`],
  [`PATCH /api/v1/iam/resource-sets/${set}/resources`, { additions: ['x'] }],
  [`DELETE /api/v1/iam/resource-sets/${set}/bindings/${role}`],
  [`DELETE /api/v1/iam/resource-sets/${set}/bindings/${role}/members/irb1`],
  [`PUT /api/v1/zones/${zone.toUpperCase()}`, { name: 'x' }],
  ['POST /api/v1/iam/resource-sets/other/bindings', Buffer.from(JSON.stringify({ role: 'x', members: [CLIENT_ID] }), 'utf16le')],
  ['POST /api/v1/principal-rate-limits', Buffer.from(`\ufeff{"principalId":"${CLIENT_ID}"}`, 'utf16le').swap16()],
  ['POST /api/v1/iam/resource-sets/other/bindings', { role: 'x', members: [`https://acme.okta.com/oauth2/v1/clients/%30${CLIENT_ID.slice(1)}`] }],
  [`GET /api/v1/apps?filter=id+eq+%22${CLIENT_ID}%22`],
  [`GET /api/v1/apps?q=${CLIENT_ID.toUpperCase()}`]
]

const onToken = ({ user, token, zone, assignment, limit, group }: World['ids']): Attempt[] => [
  [`GET /api/v1/users/${user}`],
  ['GET /api/v1/users/svc-narrowgate%40example.com'],
  ['GET /api/v1/users/SVC-Narrowgate'],
  ['GET /api/v1/users/me'],
  ['GET /api/v1/users/Me/groups'],
  [`POST /api/v1/users/${user}/lifecycle/deactivate`],
  ['POST /api/v1/users/svc-narrowgate@example.com/lifecycle/suspend'],
  [`DELETE /api/v1/users/${user.toUpperCase()}`],
  [`DELETE /api/v1/users/${user}/sessions`],
  [`POST /api/v1/users/${user}/lifecycle/reset_password?sendEmail=false`],
  [`POST /api/v1/users/${user}/roles`, { type: 'SUPER_ADMIN' }],
  [`DELETE /api/v1/users/${user}/roles/${assignment}`],
  [`PUT /api/v1/groups/00g1/users/${user}`],
  [`POST /api/v1/groups/${group}/roles`, { type: 'SUPER_ADMIN' }],
  ['POST /api/v1/groups/rules', { conditions: { expression: { value: 'user.login=="svc-narrowgate@example.com"' } } }],
  ['DELETE /api/v1/api-tokens/current'],
  ['DELETE /api/v1/api-tokens/CURRENT'],
  [`DELETE /api/v1/api-tokens/${token}`],
  [`PUT /api/v1/api-tokens/${token}`, { network: { connection: 'ANYWHERE' } }],
  [`GET /api/v1/api-tokens/${token}`],
  [`PUT /api/v1/zones/${zone}`, { gateways: [] }],
  [`PUT /api/v1/principal-rate-limits/${limit}`, { defaultPercentage: 1 }],
  ['POST /api/v1/principal-rate-limits', { principalId: token, principalType: 'SSWS_TOKEN' }],
  ['POST /api/v1/iam/resource-sets/x/bindings', { role: 'x', members: [`https://acme.okta.com/api/v1/users/${user}`] }],
  ['POST /api/v1/authn', { username: 'svc-narrowgate@example.com', password: 'x' }],
  ['POST /api/v1/authn', '{"username":" SVC-narrowgate ","username":"ann@example.com"}'],
  [`GET /api/v1/users/${user}/factors`],
  [`POST /api/v1/users/${user}/factors`, { factorType: 'sms', provider: 'OKTA' }],
  [`DELETE /api/v1/users/${user}/factors/mfa1`],
  [`POST /api/v1/users/${user}/credentials/change_password`, { oldPassword: { value: 'a' }, newPassword: { value: 'b' } }],
  [`POST /api/v1/users/${user}`, { profile: { login: 'x@example.com' } }],
  [`PUT /api/v1/users/${user}`, { credentials: { password: { value: 'x' } } }],
  [`POST /api/v1/users/${user}/lifecycle/reset_factors`],
  [`POST /api/v1/users/${user}/lifecycle/expire_password?tempPassword=true`],
  [`GET /api/v1/users/${user}/clients`],
  [`DELETE /api/v1/users/${user}/grants`],
  [`DELETE /api/v1/users/${user}/oauth/tokens`],
  [`PUT /api/v1/users/${user}/roles/${assignment}/targets/groups/00g1`],
  [`DELETE /api/v1/groups/00g1/users/${user.toUpperCase()}`],
  ['POST /api/v1/users/Svc-NarrowGate@Example.COM/lifecycle/deactivate'],
  ['DELETE /api/v1/sessions/me'],
  ['POST /api/v1/users/me/lifecycle/deactivate'],
  ['POST /api/v1/apps/0oa1other/users', { id: user, scope: 'USER' }],
  ['PUT /api/v1/api-tokens/current', { network: { connection: 'ANYWHERE' } }],
  [`DELETE /api/v1/zones/${zone}`],
  [`POST /api/v1/zones/${zone}/lifecycle/deactivate`],
  [`POST /api/v1/groups/00g1/roles?notify=${user}`, { type: 'USER_ADMIN' }],
  ['POST /api/v1/authn/recovery/password', '{"username":"svc\\u002dnarrowgate@example.com","factorType":"SMS"}'],
  ['POST /api/v1/authn', Buffer.from('{"username":"svc-narrowgate","password":"x"}', 'utf16le')],
  [`DELETE /api/v1/groups/${group}`],
  ['POST /api/v1/iam/resource-sets/x/bindings', { role: 'x', members: [`https://acme.okta.com/api/v1/groups/${group}`] }],
  ['PATCH /api/v1/iam/resource-sets/x/bindings/USER_ADMIN/members', { additions: ['https://acme.okta.com/api/v1/users/svc-narrowgate'] }],
  ['PATCH /api/v1/iam/resource-sets/x/bindings/USER_ADMIN/members', { additions: ['https://acme.okta.com/api/v1/users/me'] }],
  [`GET /api/v1/users?filter=id+eq+%22${user}%22`],
  ['GET /api/v1/users?search=profile.login+eq+%22SVC-narrowgate@example.com%22'],
  ['GET /api/v1/users?q=svc-narrowgate']
]

for (const [kind, attemptsOn] of [['serviceApp', onApp], ['apiToken', onToken]] as const) {
  t.test(`no client can harm the gate's own ${kind}`, async t => {
    const { emulator, rig, ids } = await world(t, kind)
    t.match(rig.log(), /the gate knows itself/)
    const before = emulator.received.count
    const attempts = attemptsOn(ids)
    for (const [line, body, headers = []] of attempts) {
      const text = body === undefined ? undefined : typeof body === 'string' ? body : Buffer.isBuffer(body) ? body.toString('latin1') : JSON.stringify(body)
      const bytes = request(line, bold.key, [...body === undefined ? [] : ['Content-Type: application/json'], ...headers, ...line.startsWith('GET') || body !== undefined ? [] : ['Content-Length: 0']], undefined)
      const answer = await rig.ask(text === undefined ? bytes : Buffer.from(bytes.replace(/\r\n\r\n$/, `\r\nContent-Length: ${Buffer.byteLength(text, 'latin1')}\r\n\r\n${text}`), 'latin1'))
      t.equal(answer.status, 403, line)
      t.match(answer.error.errorSummary, /the credential of the gate itself/, line)
    }
    // What needs no escape is refused with one, so no second spelling of a name is ever looked up.
    for (const path of ['users/svc%2Dnarrowgate@example.com', 'users/%73vc-narrowgate@example.com', `apps/%30${CLIENT_ID.slice(1)}`, 'users/%6de', 'users/m%65/sessions', 'api-tokens/%63urrent', `users/${ids.user}/`, `/users/${ids.user}`, `users/x/../${ids.user}`]) t.equal((await rig.ask(request(`GET /api/v1/${path}`, bold.key))).status, 400, path)
    // No operation of Okta's, but a method that may come.
    t.equal((await rig.ask(request(`DELETE /api/v1/principal-rate-limits/${ids.limit}`, bold.key))).status, 405)
    t.equal(emulator.received.count, before, `${attempts.length} attempts, none reached Okta`)
    const events = await rig.events(attempts.length)
    t.ok(events.every(event => event['status_code'] !== 'allowed'))
    t.match((await rig.admin('/metrics')).text, /reason="self_protection"/)
    const harmless: Attempt[] = [[`GET /api/v1/users/${ids.other}`], [`GET /api/v1/users?filter=id+eq+%22${ids.other}%22`], ['GET /api/v1/users?q=user&limit=2'], [`GET /api/v1/zones/${ids.zone}`], [`GET /api/v1/iam/roles/${ids.role}`], [`POST /api/v1/users/${ids.other}`, { profile: { nickName: 'svc-narrowgate-fan@example.com.invalid' } }]]
    for (const [line, body] of harmless) t.equal((await rig.ask(request(line, bold.key, body === undefined ? [] : ['Content-Type: application/json'], body === undefined ? undefined : JSON.stringify(body)))).status, 200, line)
  })
}

t.test('what Okta does not answer at the start is asked again, and what was changed within the minute, too', async t => {
  const emulator = await startEmulator({ apiTokens: [{ token: UPSTREAM_TOKEN }], rateLimitScale: 100 })
  t.teardown(() => emulator.close())
  const [token] = emulator.org.apiTokens.values()
  emulator.failNext(1, 503, ({ target }) => target === '/api/v1/users/me')
  const rig = await startRig(t, { org: emulator.url, policies: { 'bold.yaml': bold.text }, ownCalls: true, learnAgainMs: 300 })
  t.match(rig.log(), /could not find out who it is behind this credential/)
  const own = request(`GET /api/v1/users/${token!.userId}`, bold.key)
  t.ok(await until(async () => (await rig.ask(own)).status === 403), 'then it knows')
  const asked = emulator.received.count
  rig.write('policies/other.yaml', client('other', 'allow: [{ operation: getUser }]').text)
  await rig.gate.reload()
  t.ok(await until(() => emulator.received.count > asked), 'a reload asks')
})

t.test('an org on this machine is asked with a service app, and with an API token where the configuration says so', async t => {
  const emulator = await startEmulator({ apiTokens: [{ token: UPSTREAM_TOKEN }], serviceApps: [{ clientId: CLIENT_ID, jwks: { keys: [pair.publicKey.export({ format: 'jwk' }) as never] }, scopes: ['okta.users.read', 'okta.apps.read'] }] })
  t.teardown(() => emulator.close())
  const reader = client('reader', 'allow: [{ operation: getUser }, { operation: getApplication }]')
  for (const [credential, upstream, asked] of [[undefined, '', false], [undefined, 'ownCalls: true', true], [`serviceApp: { clientId: ${CLIENT_ID}, keys: [{ file: key.pem }] }`, '', true], [`serviceApp: { clientId: ${CLIENT_ID}, keys: [{ file: key.pem }] }`, 'ownCalls: false', false]] as const) {
    const rig = await startRig(t, { org: emulator.url, policies: { 'reader.yaml': reader.text }, credential, upstream, files: { 'key.pem': KEY }, ownCalls: 'as configured' })
    t.equal(/the gate knows itself/.test(rig.log()), asked, `${credential ?? 'an API token'} ${upstream}`)
    t.equal(/does not ask this org who it is/.test(rig.log()), !asked)
  }
})
