import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { inspect } from 'node:util'
import { calculateJwkThumbprint, decodeProtectedHeader, jwtVerify, type JWK } from 'jose'
import t from 'tap'
import { Secret } from '../../src/domain/secret.js'
import { createUpstreamPool } from '../../src/upstream/agent.js'
import { createApiToken } from '../../src/upstream/api-token.js'
import { CredentialFault, type PresentedCredential } from '../../src/upstream/credential.js'
import { createServiceApp, type ServiceApp, type ServiceAppOptions } from '../../src/upstream/service-app.js'
import { readSigningKey, SigningKeyError } from '../../src/upstream/signing-key.js'
import { ask, gate, rawUpstream, until } from './harness.js'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const pem = (key: KeyObject, type: 'pkcs8' | 'pkcs1' | 'sec1'): string => key.export({ type: type as 'pkcs8', format: 'pem' }) as string
const jwk = (key: KeyObject): JWK => key.export({ format: 'jwk' }) as JWK

t.test('an API token is presented until its exception ends, and follows its file', async t => {
  let now = 1000
  let secret = new Secret('00CANARY')
  const provider = createApiToken({ token: () => secret, exceptionExpiresAt: 2000, now: () => now })
  const first = provider.get() as PresentedCredential
  t.match(first, { scheme: 'SSWS', generation: 1 })
  t.equal(first.token.reveal(), '00CANARY')
  t.equal(provider.get(), first, 'the same object each time')
  t.equal(provider.invalidate(1), false, 'a refused token is not tried again')
  secret = new Secret('00CANARY')
  t.match(provider.get(), { generation: 1 }, 're-read, unchanged')
  secret = new Secret('00NEXT')
  t.equal(provider.invalidate(1), true, 'it has been exchanged meanwhile')
  t.match(provider.get(), { generation: 2 })
  for (const bad of ['', 'a b', 'a\nb', 'caf\u00e9']) {
    secret = new Secret(bad)
    t.match(provider.get(), { reason: 'empty' })
  }
  secret = new Secret('00CANARY')
  now = 2000
  t.match(provider.get(), { reason: 'exception_expired' })
  t.match(provider.status(), { available: false, lastError: 'exception_expired', expiresAt: 2000 })
  t.notMatch(inspect([first, provider, provider.get()], { depth: 9, showHidden: true }) + JSON.stringify([first, provider.status()]), /CANARY/)
})

t.test('keys of every usual form are read, and their kid is found', async t => {
  const print = await calculateJwkThumbprint(jwk(createPublicKey(rsa) as KeyObject))
  for (const [text, algorithm] of [[pem(rsa, 'pkcs8'), 'RS256'], [pem(rsa, 'pkcs1'), 'RS256'], [pem(ec, 'pkcs8'), 'ES256'], [pem(ec, 'sec1'), 'ES256'], [JSON.stringify(jwk(rsa)), 'RS256'], [JSON.stringify(jwk(ec)), 'ES256']] as const) {
    t.match(await readSigningKey(new Secret(text), false), { algorithm, kid: undefined, key: { extractable: false } })
  }
  t.match(await readSigningKey(new Secret(pem(rsa, 'pkcs8')), true), { kid: print })
  t.match(await readSigningKey(new Secret(JSON.stringify({ ...jwk(ec), kid: 'mine' })), false), { kid: 'mine' })
  const weak = pem(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey, 'pkcs8')
  const other = pem(generateKeyPairSync('ed25519').privateKey, 'pkcs8')
  const p384 = pem(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey, 'pkcs8')
  const publicOnly = createPublicKey(ec).export({ type: 'spki', format: 'pem' }) as string
  for (const bad of ['', 'CANARY', '{"CANARY":', '{"kty":"oct","k":"CANARY"}', weak, other, p384, publicOnly]) {
    const error = await readSigningKey(new Secret(bad), false).catch(cause => cause)
    t.ok(error instanceof SigningKeyError, bad.slice(0, 30))
    t.notMatch(inspect(error), /CANARY|BEGIN/)
  }
})

interface Endpoint { readonly app: ServiceApp, readonly bodies: URLSearchParams[], readonly org: string, answer: () => string, tick: (ms: number) => void, readonly clock: { wall: number, timers: number } }

const json = (status: number, body: object): string => {
  const text = JSON.stringify(body)
  return `HTTP/1.1 ${status} X\r\nContent-Type: application/json\r\nX-Rate-Limit-Remaining: 7\r\nContent-Length: ${text.length}\r\n\r\n${text}`
}
const granted = (token: string, more: object = {}): string => json(200, { token_type: 'Bearer', expires_in: 3600, access_token: token, scope: 'okta.users.read', ...more })

async function endpoint (t: { teardown: (end: () => unknown) => void }, options: Partial<ServiceAppOptions> = {}): Promise<Endpoint> {
  const bodies: URLSearchParams[] = []
  let at = 5_000_000
  let timers: { at: number, callback: () => void }[] = []
  const upstream = await rawUpstream(t, (socket, head) => {
    if (!head.startsWith('POST /oauth2/v1/token HTTP/1.1')) throw new Error(head)
    const received = upstream.received.at(-1)!.toString()
    bodies.push(new URLSearchParams(received.slice(received.lastIndexOf('\r\n\r\n') + 4)))
    socket.write(state.answer())
  })
  const org = `http://127.0.0.1:${upstream.port}`
  const pool = createUpstreamPool({ org, connections: 2, connectMs: 500, headersMs: 500, idleMs: 500 })
  const state: Endpoint = {
    bodies,
    org,
    answer: () => granted(`CANARY-${bodies.length}`),
    clock: { wall: 1_800_000_000_000, get timers () { return timers.length } },
    tick: ms => {
      at += ms
      const due = timers.filter(timer => timer.at <= at)
      timers = timers.filter(timer => timer.at > at)
      for (const { callback } of due) callback()
    },
    app: createServiceApp({
      dispatcher: pool,
      org,
      clientId: '0oa1',
      keys: () => [new Secret(pem(rsa, 'pkcs8'))],
      scopes: ['okta.users.read', 'okta.groups.read', 'okta.users.read'],
      timeoutMs: 300,
      clock: {
        now: () => state.clock.wall,
        monotonic: () => at,
        random: () => 0.5,
        after: (ms, callback) => {
          const timer = { at: at + ms, callback }
          timers.push(timer)
          return () => { timers = timers.filter(other => other !== timer) }
        }
      },
      ...options
    })
  }
  t.teardown(async () => { state.app.close(); await pool.destroy() })
  return state
}

const shown = async (app: ServiceApp): Promise<string> => {
  const found = await app.get()
  return found instanceof CredentialFault ? found.reason : found.token.reveal()
}

t.test('the assertion is what Okta asks for', async t => {
  const seen: object[] = []
  const { app, bodies, org, clock } = await endpoint(t, { observe: answer => { seen.push(answer) } })
  t.equal(await shown(app), 'CANARY-1')
  const [body] = bodies
  t.match(Object.fromEntries(body!), { grant_type: 'client_credentials', scope: 'okta.groups.read okta.users.read', client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' })
  const assertion = body!.get('client_assertion')!
  const { payload } = await jwtVerify(assertion, createPublicKey(rsa), { currentDate: new Date(clock.wall) })
  t.match(payload, { iss: '0oa1', sub: '0oa1', aud: `${org}/oauth2/v1/token`, iat: 1_799_999_995, exp: 1_800_000_240, jti: /^.{20,}$/ })
  t.same(decodeProtectedHeader(assertion), { alg: 'RS256' })
  t.match(seen, [{ status: 200, rate: { remaining: '7' } }], 'these calls count in a bucket, too')
  t.match(app.status(), { kind: 'serviceApp', available: true, ageMs: 0, expiresAt: clock.wall + 3_600_000, scopes: ['okta.users.read'] })
})

t.test('one request serves any number of waiters, and none is made while the token is good', async t => {
  const { app, bodies, tick } = await endpoint(t)
  const all = await Promise.all(Array.from({ length: 50 }, () => shown(app)))
  t.same([...new Set(all)], ['CANARY-1'])
  tick(2_600_000)
  t.notOk(app.get() instanceof Promise, 'nothing to await on the hot path')
  t.equal(bodies.length, 1)
  tick(300_000)
  t.equal((app.get() as PresentedCredential).token.reveal(), 'CANARY-1', 'renewed in the background, the old one used meanwhile')
  t.ok(await until(() => bodies.length === 2))
  await app.ready()
  t.match(app.get(), { generation: 2 })
})

t.test('a failing endpoint: the old token to its end, then the reason; back-off between attempts', async t => {
  const failing = await endpoint(t)
  t.equal(await shown(failing.app), 'CANARY-1')
  failing.answer = () => json(401, { error: 'invalid_client', error_description: 'CANARY' })
  failing.tick(3_000_000)
  await failing.app.ready()
  t.equal(await shown(failing.app), 'CANARY-1')
  t.match(failing.app.status(), { available: true, lastError: 'token_refused', lastErrorDetail: 'invalid_client' })
  t.equal(failing.bodies.length, 2)
  failing.tick(700)
  t.equal(failing.bodies.length, 2, 'not before the back-off is over')
  failing.tick(100)
  await failing.app.ready()
  t.equal(failing.bodies.length, 3)
  failing.tick(597_100)
  await failing.app.ready()
  t.equal(await shown(failing.app), 'CANARY-1', 'two seconds before its end it is still used')
  failing.tick(200)
  await failing.app.ready()
  const count = failing.bodies.length
  t.equal(await shown(failing.app), 'token_refused', 'later it could end on the way')
  for (let i = 0; i < 20; i++) await failing.app.get()
  t.equal(failing.bodies.length, count, 'callers do not hammer the endpoint')
  failing.answer = () => granted('CANARY-new')
  failing.tick(60_000)
  await failing.app.ready()
  t.equal(await shown(failing.app), 'CANARY-new')
  t.equal(failing.app.status().lastError, undefined)
})

t.test('what is not a bearer token is none, and no answer is ever quoted', async t => {
  const cases: [string, string][] = [
    [json(200, { token_type: 'DPoP', expires_in: 3600, access_token: 'CANARY' }), 'token_invalid'],
    [json(200, { token_type: 'mac', expires_in: 3600, access_token: 'CANARY' }), 'token_invalid'],
    [json(200, { expires_in: 3600, access_token: 'CANARY' }), 'token_invalid'],
    [json(200, { token_type: 'Bearer', expires_in: 'CANARY', access_token: 'CANARY' }), 'token_invalid'],
    [json(200, { token_type: 'Bearer', expires_in: 1, access_token: 'CANARY' }), 'token_invalid'],
    [granted('CANARY\r\nX-Injected: 1'), 'token_invalid'],
    [json(400, { error: 'invalid_scope', error_description: 'CANARY' }), 'token_refused'],
    [json(400, { error: 'CANARY CANARY' }), 'token_refused'],
    [json(429, { errorCode: 'E0000047', errorSummary: 'CANARY' }), 'token_refused'],
    ['HTTP/1.1 500 X\r\nContent-Length: 6\r\n\r\nCANARY', 'token_refused'],
    ['HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\nCANARY', 'token_invalid'],
    ['HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:9/CANARY\r\nContent-Length: 0\r\n\r\n', 'token_refused'],
    [granted('x'.repeat(70_000)), 'token_invalid'],
    ['CANARY\r\n\r\n', 'token_unreachable'],
    ['', 'token_unreachable']
  ]
  for (const [answer, reason] of cases) {
    const stub = await endpoint(t)
    stub.answer = () => answer
    const found = await stub.app.get()
    t.match(found, { reason }, answer.slice(0, 90))
    t.notMatch(inspect([found, stub.app, stub.app.status()], { depth: 9, showHidden: true }), /CANARY/)
  }
  t.equal(await shown((await endpoint(t, { scopes: [] })).app), 'no_scopes')
  t.equal(await shown((await endpoint(t, { keys: () => [] })).app), 'bad_key')
  t.equal(await shown((await endpoint(t, { keys: () => [new Secret('CANARY')] })).app), 'bad_key')
})

t.test('other scopes bring another token, whatever is under way', async t => {
  const { app, bodies } = await endpoint(t, { keys: () => [new Secret(pem(ec, 'sec1')), new Secret(pem(rsa, 'pkcs8'))] })
  await app.ready()
  app.setScopes(['okta.users.read', 'okta.groups.read'])
  await app.ready()
  t.equal(bodies.length, 1, 'the same scopes in another order')
  app.setScopes(['okta.apps.read'])
  app.setScopes(['okta.apps.read', 'okta.logs.read'])
  t.match(app.get(), { generation: 1 }, 'the old token meanwhile')
  await app.ready()
  t.equal(bodies.at(-1)!.get('scope'), 'okta.apps.read okta.logs.read')
  t.match(decodeProtectedHeader(bodies[0]!.get('client_assertion')!), { alg: 'ES256', kid: /^[\w-]{43}$/ }, 'several keys: a kid')
})

t.test('after a 401 about the credential one new token is minted, and the call can be made again', async t => {
  const stub = await endpoint(t)
  let refused = 'CANARY-1'
  const okta = await rawUpstream(t, (socket, head) => {
    const body = '{"errorCode":"E0000011"}'
    socket.write(head.includes(`authorization: Bearer ${refused}`) ? `HTTP/1.1 401 X\r\nContent-Length: ${body.length}\r\n\r\n${body}` : 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  })
  const { port, results } = await gate(t, { org: `http://127.0.0.1:${okta.port}`, credentials: { upstream: stub.app } })
  await ask(port)
  t.match(results.at(-1), { kind: 'credential_refused', generation: 1 })
  t.equal(stub.app.invalidate(1), true, 'at once, however young it is')
  t.equal(stub.app.invalidate(1), true, 'a second caller with the same token')
  await ask(port)
  t.match(results.at(-1), { kind: 'answered', status: 200, generation: 2 })
  t.equal(stub.bodies.length, 2, 'one new token')
  refused = 'none'
  t.equal(stub.app.invalidate(1), true, 'a late report of the old one costs nothing')
  t.equal(stub.bodies.length, 2)
  t.notMatch(inspect([results, stub.app], { depth: 9, showHidden: true }), /CANARY/)
})
