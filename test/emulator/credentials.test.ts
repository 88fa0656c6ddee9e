import { createHash, randomUUID } from 'node:crypto'
import { SignJWT, exportJWK, generateKeyPair, type CryptoKey, type JWK } from 'jose'
import { request } from 'undici'
import t, { type Test } from 'tap'
import { startEmulator, type EmulatorOptions } from '../../src/emulator/server.js'

const TOKEN = '00test-api-token'
const CLIENT = '0oa1test000000000001'
const BOUND = '0oa1test000000000002'
const SCOPES = ['okta.users.read', 'okta.groups.manage']
const TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

const client = await generateKeyPair('RS256')
const proofKey = await generateKeyPair('ES256')
const jwk: JWK = { ...await exportJWK(client.publicKey), kid: 'one' }
const proofJwk = await exportJWK(proofKey.publicKey)

async function start (t: Test, options: EmulatorOptions = {}) {
  const serviceApps = [{ clientId: CLIENT, jwks: { keys: [jwk] }, scopes: SCOPES }, { clientId: BOUND, jwks: { keys: [jwk] }, scopes: SCOPES, dpop: true }]
  const org = await startEmulator({ apiTokens: [{ token: TOKEN }], serviceApps, users: 5, ...options })
  t.teardown(() => org.close())
  const send = async (method: 'GET' | 'POST', target: string, headers: Record<string, string>, body?: string) => {
    const answer = await request(org.url + target, { method, headers, body })
    const text = await answer.body.text()
    return { status: answer.statusCode, headers: answer.headers, text, json: text === '' ? undefined : JSON.parse(text) }
  }
  const token = async (form: Record<string, string>, headers: Record<string, string> = {}) =>
    send('POST', '/oauth2/v1/token', { 'content-type': 'application/x-www-form-urlencoded', ...headers }, new URLSearchParams(form).toString())
  return { org, send, token }
}

interface Claims { iss?: string, sub?: string, aud?: string, expiresIn?: number, jti?: string, key?: CryptoKey, at?: number }

async function assertion (url: string, claims: Claims = {}): Promise<string> {
  const { iss = CLIENT, sub = iss, aud = `${url}/oauth2/v1/token`, expiresIn = 300, jti = randomUUID(), key = client.privateKey, at = Date.now() } = claims
  const seconds = Math.floor(at / 1000)
  return await new SignJWT().setProtectedHeader({ alg: 'RS256', kid: 'one' }).setIssuer(iss).setSubject(sub).setAudience(aud).setIssuedAt(seconds).setExpirationTime(seconds + expiresIn).setJti(jti).sign(key)
}

async function form (url: string, claims?: Claims, more: Record<string, string> = {}): Promise<Record<string, string>> {
  return { grant_type: 'client_credentials', scope: 'okta.users.read', client_assertion_type: TYPE, client_assertion: await assertion(url, claims), ...more }
}

interface ProofClaims { htm?: string, htu?: string, iat?: number, jti?: string, nonce?: string, ath?: string }

async function proof (claims: ProofClaims, typ = 'dpop+jwt'): Promise<string> {
  return await new SignJWT({ jti: randomUUID(), iat: Math.floor(Date.now() / 1000), ...claims }).setProtectedHeader({ alg: 'ES256', typ, jwk: proofJwk }).sign(proofKey.privateKey)
}

t.test('a service app gets a token, and the scopes that it asked for open the API', async t => {
  const { org, send, token } = await start(t)
  const granted = await token(await form(org.url))
  t.match(granted, { status: 200, json: { token_type: 'Bearer', expires_in: 3600, scope: 'okta.users.read' } })
  t.equal(granted.headers['x-rate-limit-limit'], String(Math.floor(Number(org.counts()[0]!.limit) / 2)))
  const authorization = `Bearer ${granted.json.access_token}`
  t.equal((await send('GET', '/api/v1/users', { authorization })).status, 200)
  const refused = await send('GET', '/api/v1/groups', { authorization })
  t.match(refused, { status: 403, text: '', headers: { 'www-authenticate': /^Bearer .*scope="okta\.groups\.read".*error="insufficient_scope"/ } })
  const wider = await token(await form(org.url, {}, { scope: 'okta.groups.manage' }))
  t.equal((await send('GET', '/api/v1/groups', { authorization: `Bearer ${wider.json.access_token}` })).status, 200, 'manage includes read')
  org.revokeToken(granted.json.access_token)
  t.equal((await send('GET', '/api/v1/users', { authorization })).status, 401)
})

t.test('a token dies after its lifetime', async t => {
  const clock = { ms: Date.now() }
  const { org, send, token } = await start(t, { now: () => clock.ms, tokenLifetimeSeconds: 100 })
  const { json } = await token(await form(org.url, { at: clock.ms }))
  const authorization = `Bearer ${json.access_token}`
  t.equal((await send('GET', '/api/v1/users', { authorization })).status, 200)
  clock.ms += 100_000
  t.equal((await send('GET', '/api/v1/users', { authorization })).status, 401)
})

t.test('the token endpoint refuses what is not quite right, in OAuth\'s form', async t => {
  const { org, token, send } = await start(t)
  const jti = randomUUID()
  t.equal((await token(await form(org.url, { jti }))).status, 200)
  const other = await generateKeyPair('RS256')
  const cases: [string, number, string, Claims, Record<string, string>][] = [
    ['a used jti', 401, 'invalid_client', { jti }, {}],
    ['another key', 401, 'invalid_client', { key: other.privateKey }, {}],
    ['an unknown client', 401, 'invalid_client', { iss: '0oa9nobody0000000000' }, {}],
    ['iss and sub that differ', 401, 'invalid_client', { sub: 'someone' }, {}],
    ['the audience of another endpoint', 401, 'invalid_client', { aud: org.url }, {}],
    ['more than an hour', 401, 'invalid_client', { expiresIn: 3700 }, {}],
    ['expired', 401, 'invalid_client', { expiresIn: -10 }, {}],
    ['no assertion type', 401, 'invalid_client', {}, { client_assertion_type: '' }],
    ['a scope not granted', 400, 'invalid_scope', {}, { scope: 'okta.users.read okta.apps.read' }],
    ['no scope', 400, 'invalid_scope', {}, { scope: '' }],
    ['another grant', 400, 'unsupported_grant_type', {}, { grant_type: 'password' }]
  ]
  for (const [what, status, error, claims, more] of cases) {
    t.match(await token(await form(org.url, claims, more)), { status, json: { error, error_description: String } }, what)
  }
  t.match(await send('POST', '/oauth2/v1/token', { 'content-type': 'application/json' }, '{}'), { status: 400, json: { errorCode: 'E0000021' } })
})

t.test('a DPoP app dances for its nonce, and every call needs a proof of its own', async t => {
  const { org, send, token } = await start(t)
  const htu = `${org.url}/oauth2/v1/token`
  const ask = async (claims: ProofClaims | undefined) => token(await form(org.url, { iss: BOUND }), claims === undefined ? {} : { dpop: await proof(claims) })
  t.match(await ask(undefined), { status: 400, json: { error: 'invalid_dpop_proof' } })
  const first = await ask({ htm: 'POST', htu })
  t.match(first, { status: 400, json: { error: 'use_dpop_nonce' } })
  const nonce = String(first.headers['dpop-nonce'])
  const { json } = await ask({ htm: 'POST', htu, nonce })
  t.match(json, { token_type: 'DPoP' })

  const ath = createHash('sha256').update(json.access_token).digest('base64url')
  const good = { htm: 'GET', htu: `${org.url}/api/v1/users`, ath }
  const call = (dpop: string, scheme = 'DPoP') => send('GET', '/api/v1/users?limit=2', { authorization: `${scheme} ${json.access_token}`, dpop })
  const used = await proof(good)
  t.equal((await call(used)).status, 200)
  const seconds = Math.floor(Date.now() / 1000)
  const tampered: [string, string][] = [
    ['the same proof again', used],
    ['another method', await proof({ ...good, htm: 'POST' })],
    ['a URL with query', await proof({ ...good, htu: `${good.htu}?limit=2` })],
    ['another token\'s hash', await proof({ ...good, ath: 'x' })],
    ['no hash', await proof({ htm: good.htm, htu: good.htu })],
    ['too old', await proof({ ...good, iat: seconds - 400 })],
    ['from the future', await proof({ ...good, iat: seconds + 400 })],
    ['another typ', await proof(good, 'JWT')],
    ['a broken signature', `${(await proof(good)).slice(0, -8)}AAAAAAAA`]
  ]
  for (const [what, bad] of tampered) t.match(await call(bad), { status: 401, headers: { 'www-authenticate': /^DPoP .*invalid_dpop_proof/ } }, what)
  t.equal((await call(await proof(good), 'Bearer')).status, 401, 'a bound token is no bearer token')
})

t.test('an API token follows its owner, its revocation and its idleness', async t => {
  const clock = { ms: Date.now() }
  const { org, send } = await start(t, { now: () => clock.ms, apiTokens: [{ token: 'a' }, { token: 'b' }, { token: 'c' }] })
  const status = async (token: string): Promise<number> => (await send('GET', '/api/v1/zones', { authorization: `SSWS ${token}` })).status
  t.equal((await request(`${org.url}/api/v1/api-tokens/current`, { method: 'DELETE', headers: { authorization: 'SSWS a' } })).statusCode, 204)
  t.strictSame([await status('a'), await status('b'), await status('c')], [401, 200, 200])
  clock.ms += 29 * 86_400_000
  t.equal(await status('b'), 200)
  clock.ms += 2 * 86_400_000
  t.strictSame([await status('b'), await status('c')], [200, 401], 'only what was used lives on')
  const owner = [...org.org.users.values()][0]!
  owner.status = 'DEPROVISIONED'
  t.equal(await status('b'), 401)
})

t.test('a token has half of the org\'s limit, in a minute that its first call starts', async t => {
  const clock = { ms: 1_800_000_000_500 }
  const { org, send } = await start(t, { now: () => clock.ms, rateLimits: { '/api/v1/zones': 7, '/api/v1': 7 }, apiTokens: [{ token: 'a' }, { token: 'b' }, { token: 'c' }] })
  const call = async (token: string) => {
    const { status, headers, json } = await send('GET', '/api/v1/zones', { authorization: `SSWS ${token}` })
    return { status, limit: Number(headers['x-rate-limit-limit']), left: Number(headers['x-rate-limit-remaining']), reset: Number(headers['x-rate-limit-reset']), date: Date.parse(String(headers.date)), code: json.errorCode, headers }
  }
  const reset = 1_800_000_060
  for (const left of [2, 1, 0]) t.match(await call('a'), { status: 200, limit: 3, left, reset, date: 1_800_000_000_000 })
  const refused = await call('a')
  t.match(refused, { status: 429, limit: 3, left: 0, reset, code: 'E0000047' })
  t.notHas(refused.headers, 'retry-after')
  clock.ms += 20_000
  for (const left of [2, 1, 0]) t.match(await call('b'), { status: 200, left, reset: reset + 20 }, 'another token has a minute of its own')
  t.equal((await call('c')).status, 200)
  t.match(await call('c'), { status: 429, limit: 7, left: 0, reset }, 'the org\'s limit stands around all')
  clock.ms = reset * 1000
  t.match(await call('a'), { status: 200, left: 2, reset: reset + 60 })
  t.match(await call('b'), { status: 429, limit: 3 })
  const [bucket] = org.counts()
  t.match(bucket, { limit: 7, admitted: 8, refused: 3, peak: 7 })
  org.consume(bucket!.bucket, 2, [...org.org.apiTokens.keys()][0])
  t.match(await call('a'), { status: 429, left: 0 }, 'what others consume counts')
})

t.test('anonymous sign-in is shown the org\'s full figure', async t => {
  const { org, send } = await start(t)
  const { headers } = await send('POST', '/api/v1/authn', { 'content-type': 'application/json' }, JSON.stringify({ username: 'nobody', password: 'x' }))
  const bucket = org.counts().find(({ admitted }) => admitted === 1)
  t.equal(headers['x-rate-limit-limit'], String(bucket?.limit))
})

t.test('more in flight than the org allows is 429 with a limit of 0', async t => {
  const { org, send } = await start(t, { concurrency: 3, latencyMs: 150 })
  const answers = await Promise.all(Array.from({ length: 5 }, () => send('GET', '/api/v1/zones', { authorization: `SSWS ${TOKEN}` })))
  t.equal(answers.filter(({ status }) => status === 200).length, 3)
  for (const { headers } of answers.filter(({ status }) => status === 429)) t.match(headers, { 'x-rate-limit-limit': '0', 'x-rate-limit-remaining': '0' })
  t.equal(org.peakInFlight, 5)
})
