import { generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import { globalAgent } from 'node:https'
import { createRequire } from 'node:module'
import t from 'tap'
import { startEmulator } from '../../src/emulator/server.js'
import { client, later, respond, startRig, startStub, until, UPSTREAM_TOKEN, type AuditLine, type Rig } from '../support/gate.js'
import { makeCertificate } from '../upstream/certificates.js'

/** What the test uses of Okta's SDK, which is CommonJS. */
interface Sdk {
  Client: new (options: Record<string, unknown>) => {
    userApi: Record<string, (request: Record<string, unknown>) => Promise<User & AsyncIterable<User>>>
    oauth: { clearCachedAccessToken: () => void, isDPoP: boolean, accessToken: { token_type: string, expires_in: number, access_token: string } | null }
    groupApi: Record<string, (request: Record<string, unknown>) => Promise<unknown>>
    requestExecutor: { on: (event: string, listener: (...values: unknown[]) => void) => void }
  }
}
interface User { id: string, profile: Record<string, string> }
const okta = createRequire(import.meta.url)('@okta/okta-sdk-nodejs') as Sdk

const authority = makeCertificate({ commonName: 'tests', authority: true })
const leaf = makeCertificate({ commonName: 'gate', names: ['localhost', '127.0.0.1'], issuer: authority })
const pair = (): { secret: JsonWebKey, open: JsonWebKey } => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return { secret: { ...privateKey.export({ format: 'jwk' }), kid: 'one' }, open: { ...publicKey.export({ format: 'jwk' }), kid: 'one' } }
}
const keys = { plain: pair(), bound: pair(), either: pair(), stranger: pair() }
const rules = `allow:
  - { operation: listUsers, as: list users }
  - { operation: getUser, as: get user }
  - { operation: createUser, as: create user }
  - operation: updateUser
    as: change the name
    body: { only: [profile.firstName, profile.lastName, profile.nickName] }
  - { operation: assignUserToGroup, as: add to group }
`
const policy = (name: keyof typeof keys, dpop: string): string => client(name, rules, [`privateKeyJwt: { jwks: { file: keys/${name}.json }${dpop} }`]).text
const policies = {
  'plain.yaml': policy('plain', ''),
  'bound.yaml': policy('bound', ', dpop: required'),
  'either.yaml': policy('either', ', dpop: optional'),
  ...Object.fromEntries((['plain', 'bound', 'either'] as const).map(name => [`keys/${name}.json`, JSON.stringify({ keys: [keys[name].open] })]))
}

/** The SDK trusts what the process trusts: NODE_EXTRA_CA_CERTS does the same, but is read at start only. */
globalAgent.options.ca = [authority.cert]
const TLS = { listen: 'tls: { cert: { file: cert.pem }, key: { file: key.pem } }', files: { 'cert.pem': leaf.cert, 'key.pem': leaf.key } }
const connect = (rig: Rig, name: string, key: JsonWebKey): InstanceType<Sdk['Client']> => {
  return new okta.Client({ orgUrl: rig.publicUrl, authorizationMode: 'PrivateKey', clientId: name, scopes: ['okta.users.read'], privateKey: JSON.stringify(key), cacheMiddleware: null })
}

t.test('Okta\'s Node SDK in its PrivateKey mode, over TLS, unchanged but for URL and key', async t => {
  // The gate's clock, so that a token can end in mid-run.
  const { now } = Date
  let aheadMs = 0
  Date.now = () => now() + aheadMs
  t.teardown(() => { Date.now = now })
  const emulator = await startEmulator({ apiTokens: [{ token: UPSTREAM_TOKEN }], users: 25 })
  t.teardown(() => emulator.close())
  const rig = await startRig(t, { org: emulator.url, policies, limits: '{}', ...TLS })
  const list = async (sdk: InstanceType<Sdk['Client']>): Promise<number> => {
    let count = 0
    for await (const user of await sdk.userApi['listUsers']!({ limit: 10 })) if (user.id !== '') count++
    return count
  }

  for (const [name, dpop, token] of [['plain', false, ['allowed']], ['bound', true, ['allowed', 'allowed']], ['either', true, ['allowed', 'allowed']]] as const) {
    const sdk = connect(rig, name, keys[name].secret)
    t.equal(await list(sdk), 26, `${name}: every user, over three pages`)
    t.equal(sdk.oauth.isDPoP, dpop, `${name}: bound or not`)
    t.equal(sdk.oauth.accessToken!.token_type, dpop ? 'DPoP' : 'Bearer')
    t.ok(sdk.oauth.accessToken!.expires_in > 300)
    const events = await rig.events(token.length + 3)
    t.same(events.map(({ outcome }) => outcome), [...token, 'allowed', 'allowed', 'allowed'])
    const ids = new Set(events.filter(event => event['rule'] !== undefined).map((event: AuditLine) => `${String(event['client'])} ${String(event['authentication'])} ${String(event['keyId'])}`))
    t.equal(ids.size, 1)
    t.match([...ids][0], new RegExp(`^${name} privateKeyJwt [0-9a-f]{8}$`), 'who, how, and with which key')
  }

  for (const name of ['plain', 'bound'] as const) {
    const sdk = connect(rig, name, keys[name].secret)
    t.equal(await list(sdk), 26)
    const before = sdk.oauth.accessToken!.access_token
    await rig.events(name === 'plain' ? 4 : 5)
    aheadMs = 700_000
    sdk.requestExecutor.on('response', () => { aheadMs = 0 })
    t.equal(await list(sdk), 26, `${name}: a token that ends in mid-run costs nothing but a new one`)
    t.not(sdk.oauth.accessToken!.access_token, before)
    const [first, ...rest] = await rig.events(name === 'plain' ? 5 : 6)
    t.match(first, { reason: 'bad_credential', detail: /this access token has expired/ })
    t.ok(rest.every(({ outcome }) => outcome === 'allowed'))
  }

  for (const name of ['plain', 'bound'] as const) {
    const { userApi, groupApi } = connect(rig, name, keys[name].secret)
    const login = `${name}@example.com`
    const created = await userApi['createUser']!({ body: { profile: { firstName: 'Grace', lastName: 'Hopper', email: login, login } }, activate: true })
    t.match(await userApi['getUser']!({ userId: login }), { id: created.id }, `${name}: by login, percent-encoded: the proof's htu has the same spelling`)
    t.match(await userApi['updateUser']!({ userId: created.id, user: { profile: { nickName: 'Amazing Grace' } } }), { profile: { nickName: 'Amazing Grace' } })
    const group = [...emulator.org.groups.values()].find(({ type }) => type === 'OKTA_GROUP')!
    await groupApi['assignUserToGroup']!({ groupId: group.id, userId: created.id })
    t.ok(group.members.has(created.id))
    const refused: unknown = await userApi['updateUser']!({ userId: created.id, user: { profile: { email: 'other@example.com' } } }).then(() => undefined, error => error)
    t.match(refused, { status: 403, message: /change the name.*profile\.email/ }, `${name}: a 403 that names rule and condition`)
    await rig.events(name === 'plain' ? 6 : 7)
  }

  const wrong = connect(rig, 'plain', keys.stranger.secret)
  // After a token call that failed the SDK calls with "Bearer undefined", and shows that answer.
  const failed = await list(wrong).then(() => undefined, (error: unknown) => error)
  t.match(failed, { status: 401, errorCauses: [{ errorSummary: /token call failed/ }] }, 'a key that is not registered')
  const events = await rig.events(2)
  t.match(events[0], { reason: 'bad_credential', status: 401, detail: /no client with this id has registered a key/, path: '/oauth2/v1/token' })
  t.notOk('client' in events[0]!, 'nobody was proved to be the client')
  t.notOk(/client_assertion=|eyJ[A-Za-z0-9_-]{10}/.test(rig.auditText()), 'no assertion and no token in any event')

  const revoked = connect(rig, 'plain', keys.plain.secret)
  t.equal(await list(revoked), 28)
  rig.write('policies/keys/plain.json', JSON.stringify({ keys: [keys.stranger.open] }))
  await rig.gate.reload()
  const refused = await list(revoked).then(() => undefined, (error: unknown) => error)
  t.match(refused, { status: 401 }, 'the token of a revoked key is worth nothing, and there is no new one')
})

t.test('after a 429 the SDK sends the same proof again, and it is good: a refused call has not used it up', async t => {
  const stub = await startStub(t)
  const rig = await startRig(t, { org: stub.origin, policies, limits: '{}', ...TLS })
  let calls = 0
  stub.answer = (_, socket) => {
    const rate = (remaining: number): string[] => ['Content-Type: application/json', `Date: ${new Date().toUTCString()}`, 'X-Rate-Limit-Limit: 1000', `X-Rate-Limit-Remaining: ${remaining}`, `X-Rate-Limit-Reset: ${Math.ceil(Date.now() / 1000) + 1}`, 'X-Okta-Request-Id: req1']
    socket.write(++calls === 2 ? respond(429, '{"errorCode":"E0000047","errorSummary":"API call exceeded rate limit"}', rate(0)) : respond(200, '{"id":"00u1","profile":{"login":"a"}}', rate(999)))
  }
  const { userApi } = connect(rig, 'bound', keys.bound.secret)
  await userApi['getUser']!({ userId: '00u1' })
  const refusedByOkta = userApi['getUser']!({ userId: '00u2' }).then(() => 'answered', (error: Error) => error.message)
  await until(() => calls === 2)
  await later(50)
  t.match(await userApi['getUser']!({ userId: '00u3' }), { id: '00u1' }, 'refused by the gate, then admitted with the proof that it had shown')
  t.equal(await refusedByOkta, 'answered', 'nor has one that Okta refused')
  const own = (await rig.events(7)).filter(({ path }) => path === '/api/v1/users/00u3').map(event => event['reason'] ?? event['outcome'])
  t.equal(own[0], 'bucket_closed')
  t.equal(own.at(-1), 'allowed')
})
