import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader, EmbeddedJWK, exportJWK, jwtVerify, SignJWT, type JWK } from 'jose'
import t from 'tap'
import { request } from 'undici'
import { startEmulator } from '../../src/emulator/server.js'
import { headerLines } from '../../src/emulator/received.js'
import { Secret } from '../../src/domain/secret.js'
import { createUpstreamPool } from '../../src/upstream/agent.js'
import { CredentialFault, type CredentialNotice, type PresentedCredential } from '../../src/upstream/credential.js'
import { createProofKey } from '../../src/upstream/dpop.js'
import { createServiceApp, type ServiceApp, type TokenClock } from '../../src/upstream/service-app.js'
import { ask, gate, rawUpstream, until } from './harness.js'

const CLIENT = '0oa1narrowgatetest05'
const SCOPES = ['okta.users.read', 'okta.groups.read', 'okta.apps.read']

interface Key { readonly private: KeyObject, readonly jwk: JWK, readonly secret: Secret }

const newKey = (kid?: string): Key => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = { ...createPublicKey(privateKey).export({ format: 'jwk' }) as JWK, alg: 'ES256', use: 'sig', ...kid === undefined ? {} : { kid } }
  const secret = new Secret(kid === undefined ? privateKey.export({ type: 'pkcs8', format: 'pem' }) as string : JSON.stringify({ ...privateKey.export({ format: 'jwk' }), kid }))
  return { private: privateKey, jwk, secret }
}

/** A clock whose hours pass when the test says so; epoch time goes with it. */
function steppedClock (): TokenClock & { tick: (ms: number) => void } {
  let at = 0
  let timers: Array<{ at: number, callback: () => void }> = []
  const start = Date.now()
  return {
    now: () => start + at,
    monotonic: () => at,
    random: () => 0.5,
    after (ms, callback) {
      const timer = { at: at + ms, callback }
      timers.push(timer)
      return () => { timers = timers.filter(other => other !== timer) }
    },
    tick (ms) {
      at += ms
      const due = timers.filter(timer => timer.at <= at)
      timers = timers.filter(timer => timer.at > at)
      for (const { callback } of due) callback()
    }
  }
}

async function org (t: { teardown: (end: () => unknown) => void }, options: { readonly registered: JWK[], readonly keys: () => readonly Secret[], readonly scopes?: readonly string[], readonly granted?: readonly string[], readonly dpop?: boolean, readonly lifetime?: number }) {
  const clock = steppedClock()
  const emulator = await startEmulator({
    serviceApps: [{ clientId: CLIENT, jwks: { keys: options.registered }, scopes: options.granted ?? SCOPES, dpop: options.dpop ?? true }],
    rateLimits: { '/api/v1/users': 1_000_000, '/oauth2/v1/token': 1_000_000 },
    concurrency: 1000,
    tokenLifetimeSeconds: options.lifetime,
    now: clock.now
  })
  t.teardown(() => emulator.close())
  const pool = createUpstreamPool({ org: emulator.url, connections: 20, connectMs: 1000, headersMs: 5000, idleMs: 5000 })
  const notices: CredentialNotice[] = []
  const app = createServiceApp({ dispatcher: pool, org: emulator.url, clientId: CLIENT, keys: options.keys, scopes: options.scopes ?? SCOPES, dpop: options.dpop ?? true, clock, notice: notice => { notices.push(notice) } })
  t.teardown(async () => { app.close(); await pool.destroy() })
  const tokenCalls = (): number => emulator.received.all.filter(({ target }) => target === '/oauth2/v1/token').length
  return { emulator, app, clock, notices, tokenCalls }
}

const shown = async (app: ServiceApp): Promise<PresentedCredential> => {
  const found = await app.get()
  if (found instanceof CredentialFault) throw found
  return found
}

t.test('a proof is what RFC 9449 asks for, a new one for each call', async t => {
  const key = await createProofKey()
  const token = new Secret('CANARY.token')
  const { prove } = key.proofsFor(token)
  const url = 'https://acme.okta.com/api/v1/users/a%40b'
  const seen = new Set<unknown>()
  for (let i = 0; i < 600; i++) {
    // About one in 128 of these signatures has a number with a leading zero byte, about as many need one in DER.
    const { payload } = await jwtVerify(prove('GET', url, undefined, 1_800_000_000_999), EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'], currentDate: new Date(1_800_000_000_000) })
    seen.add(payload.jti)
    if (i === 0) t.match(payload, { htm: 'GET', htu: url, iat: 1_800_000_000, ath: /^[\w-]{43}$/, nonce: undefined })
  }
  t.equal(seen.size, 600, 'no id is used twice')
  const asked = prove('POST', url, 'n"once', 1)
  t.match(decodeJwt(asked), { nonce: 'n"once', htm: 'POST' })
  t.same(Object.keys((decodeProtectedHeader(asked).jwk as object)).sort(), ['crv', 'kty', 'x', 'y'], 'the public half only')
  t.notMatch(asked, /CANARY/)
})

t.test('calls pass an org that enforces DPoP, through a nonce and a token expiry', async t => {
  const key = newKey()
  const { emulator, app, clock, tokenCalls } = await org(t, { registered: [key.jwk], keys: () => [key.secret] })
  const { port, results } = await gate(t, { org: emulator.url, credentials: { upstream: app }, pool: { connections: 40 }, call: { timeouts: { connectMs: 10_000, headersMs: 10_000, idleMs: 10_000 } } })
  const wave = async (): Promise<void> => { await Promise.all(Array.from({ length: 50 }, async (_, i) => await ask(port, { path: `/api/v1/users?limit=${i + 1}` }))) }
  for (let i = 0; i < 8; i++) {
    await wave()
    clock.tick(660_000)
  }
  t.same(new Set(results.map(({ kind, status }) => `${kind} ${status}`)), new Set(['answered 200']), `${results.length} calls`)
  t.ok(results.some(({ generation }) => generation! > 1), 'a second token was fetched meanwhile')
  t.equal(tokenCalls(), 2 + new Set(results.map(({ generation }) => generation)).size - 1, 'the nonce is asked for once')
  const [first] = emulator.received.all.filter(({ target }) => target.startsWith('/api/'))
  const [proof] = headerLines(first!, 'dpop')
  t.match(decodeJwt(proof!), { htu: `${emulator.url}/api/v1/users`, htm: 'GET' }, 'without the query')
})

t.test('whatever is changed about a proof, the org refuses it', async t => {
  const key = newKey()
  const { emulator, app, clock } = await org(t, { registered: [key.jwk], keys: () => [key.secret] })
  const { token, prove } = await shown(app)
  const send = async (proof: string | undefined, scheme = 'DPoP', path = '/api/v1/users'): Promise<number> => {
    const answer = await request(emulator.url + path, { headers: { authorization: `${scheme} ${token.reveal()}`, ...proof === undefined ? {} : { dpop: proof } } })
    await answer.body.dump()
    return answer.statusCode
  }
  const good = prove!('GET', '/api/v1/users')
  t.equal(await send(good), 200)
  t.equal(await send(good), 401, 'the same proof again')
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const forged = async (change: object, header: object = {}): Promise<string> => await new SignJWT({ ...decodeJwt(prove!('GET', '/api/v1/users')), ...change })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: await exportJWK(pair.publicKey), ...header }).sign(pair.privateKey)
  const part = (text: string, index: number, change: (json: Record<string, unknown>) => void): string => {
    const parts = text.split('.')
    const json = JSON.parse(Buffer.from(parts[index]!, 'base64url').toString()) as Record<string, unknown>
    change(json)
    parts[index] = Buffer.from(JSON.stringify(json)).toString('base64url')
    return parts.join('.')
  }
  const fresh = (): string => prove!('GET', '/api/v1/users')
  const tampered: Record<string, string | undefined> = {
    'no proof': undefined,
    'another key': await forged({}),
    'another path': prove!('GET', '/api/v1/groups'),
    'another method': prove!('POST', '/api/v1/users'),
    'its query in htu': prove!('GET', '/api/v1/users?limit=1'),
    'a changed htu': part(fresh(), 1, claims => { claims['htu'] = `${emulator.url}/api/v1/users/` }),
    'a changed ath': part(fresh(), 1, claims => { claims['ath'] = 'x'.repeat(43) }),
    'a changed jti': part(fresh(), 1, claims => { claims['jti'] = 'other' }),
    'a changed iat': part(fresh(), 1, claims => { claims['iat'] = 1 }),
    'another typ': part(fresh(), 0, header => { header['typ'] = 'jwt' }),
    'no algorithm': part(fresh(), 0, header => { header['alg'] = 'none' }).replace(/\.[^.]*$/, '.'),
    'a changed signature': fresh().replace(/.{8}$/, 'AAAAAAAA'),
    'two proofs in one': `${fresh()}, ${fresh()}`
  }
  for (const [name, proof] of Object.entries(tampered)) t.equal(await send(proof), 401, name)
  t.equal(await send(fresh(), 'Bearer'), 401, 'as a bearer token')
  const old = fresh()
  clock.tick(400_000)
  t.equal(await send(old), 401, 'older than five minutes')
  t.equal(await send(fresh()), 200, 'the next good one')
})

t.test('a nonce that a call is asked for goes into the next proof; the client never sees it', async t => {
  const key = newKey()
  const { app } = await org(t, { registered: [key.jwk], keys: () => [key.secret] })
  let wanted = 'first'
  const bodies = { 400: '{"error":"use_dpop_nonce","error_description":"x"}', 401: '' }
  let status: 400 | 401 = 400
  const okta = await rawUpstream(t, (socket, head) => {
    const proof = /^dpop: (.*)$/im.exec(head)?.[1]
    if (decodeJwt(proof!)['nonce'] === wanted) { socket.write(`HTTP/1.1 200 OK\r\nDPoP-Nonce: ${wanted}\r\nContent-Length: 0\r\n\r\n`); return }
    socket.write(`HTTP/1.1 ${status} X\r\nDPoP-Nonce: ${wanted}\r\nWWW-Authenticate: DPoP error="use_dpop_nonce"\r\nContent-Length: ${bodies[status].length}\r\n\r\n${bodies[status]}`)
  })
  const { port, results } = await gate(t, { org: `http://127.0.0.1:${okta.port}`, credentials: { upstream: app } })
  for (status of [400, 401] as const) {
    wanted = `nonce-${status}`
    t.equal((await ask(port, { method: 'POST', body: 'x' })).status, 502)
    const refused = results.at(-1)!
    t.match(refused, { kind: 'credential_refused', nonce: wanted, status })
    t.equal(app.invalidate(refused.generation!, wanted), true, 'worth one more call, with the same token')
    const answer = await ask(port, { method: 'POST', body: 'x' })
    t.match([answer.status, answer.headers['dpop-nonce']], [200, undefined])
    t.equal(results.at(-1)!.generation, refused.generation)
  }
  const other = await rawUpstream(t, socket => socket.write('HTTP/1.1 400 X\r\nContent-Length: 25\r\n\r\n{"errorCode":"E0000001" }'))
  const plain = await gate(t, { org: `http://127.0.0.1:${other.port}`, credentials: { upstream: app } })
  t.match(await ask(plain.port), { status: 400, body: /E0000001/ }, 'any other 400 is the client\'s')
})

t.test('an org that gives bearer tokens where bound ones are asked for is no use, and the other way round', async t => {
  const key = newKey()
  const bound = await org(t, { registered: [key.jwk], keys: () => [key.secret], dpop: true })
  const plain = createServiceApp({ dispatcher: createUpstreamPool({ org: bound.emulator.url, connections: 1, connectMs: 500, headersMs: 500, idleMs: 500 }), org: bound.emulator.url, clientId: CLIENT, keys: () => [key.secret], scopes: SCOPES, clock: steppedClock() })
  t.match(await plain.get(), { reason: 'token_refused', detail: 'invalid_dpop_proof' })
  const loose = await org(t, { registered: [key.jwk], keys: () => [key.secret], dpop: false })
  t.match(await shown(loose.app), { scheme: 'Bearer', prove: undefined })
})

t.test('a new first key is tried while the old one serves, and nothing is lost if Okta does not know it', async t => {
  const [old, next] = [newKey(), newKey('next')]
  let keys: readonly Secret[] = [old.secret]
  const { emulator, app, clock, notices, tokenCalls } = await org(t, { registered: [old.jwk], keys: () => keys })
  t.match(await shown(app), { generation: 1 })
  keys = [next.secret, old.secret]
  app.renewKeys()
  t.match(app.get(), { generation: 1 }, 'the old token meanwhile')
  await app.ready()
  t.match(app.get(), { generation: 2 }, 'the old key has signed for another one')
  t.match(notices, [{ kind: 'key_refused', alarm: true, position: 2, detail: 'invalid_client' }])
  t.match(app.status(), { position: 2, available: true })
  emulator.org.apps.get(CLIENT)!.jwks.keys.push(next.jwk)
  clock.tick(60_000)
  await app.ready()
  t.match(notices[1], { kind: 'key_serves', alarm: false }, 'tried again after a minute')
  t.match(app.status(), { position: 1 })
  const count = tokenCalls()
  keys = [newKey('unknown').secret]
  app.renewKeys()
  await app.ready()
  t.match(app.status(), { position: 2, available: true }, 'a key that is configured no longer serves until another one does')
  t.match(notices[2], { kind: 'key_refused' })
  t.ok(tokenCalls() - count <= 2)
  app.renewKeys()
  await app.ready()
  t.ok(tokenCalls() - count <= 2, 'nothing has changed, nothing is asked')
  emulator.org.apps.get(CLIENT)!.jwks.keys.length = 0
  clock.tick(3_600_000)
  await app.ready()
  t.match(await app.get(), { reason: 'token_refused', detail: 'invalid_client' }, 'when no key is known any more')
  t.match(notices.at(-1), { kind: 'no_token', alarm: true })
})

t.test('a scope that Okta refuses is found, and the rest is asked for', async t => {
  const key = newKey()
  const scopes = Array.from({ length: 12 }, (_, i) => `okta.thing${i}.read`)
  const { emulator, app, notices, tokenCalls } = await org(t, { registered: [key.jwk], keys: () => [key.secret], scopes, granted: scopes.filter((_, i) => i !== 3 && i !== 10) })
  t.match(await shown(app), { generation: 1 })
  t.same(app.status().refusedScopes, ['okta.thing10.read', 'okta.thing3.read'])
  t.match(notices, [{ kind: 'scopes_refused', alarm: true, scopes: ['okta.thing10.read', 'okta.thing3.read'] }])
  const count = tokenCalls()
  t.ok(count < 20, `${count} requests`)
  app.setScopes([...scopes, 'okta.users.manage'], refused => [...scopes, refused.has('okta.users.manage') ? 'okta.users.read' : 'okta.users.manage'])
  await app.ready()
  t.ok(app.refusedScopes().has('okta.users.manage') && app.refusedScopes().has('okta.users.read'))
  t.match(app.status(), { available: true }, 'the rest is granted')
  emulator.org.apps.get(CLIENT)!.grants.set('x', { scopeId: 'okta.users.read' })
  app.setScopes(['okta.thing0.read'])
  await app.ready()
  t.equal(app.refusedScopes().size, 0)
  t.equal(notices.at(-1)!.kind, 'scopes_granted')
  app.setScopes(['okta.none.read'])
  await app.ready()
  t.match(app.status(), { lastError: 'token_refused', lastErrorDetail: 'invalid_scope' })
  t.ok(await until(() => app.refusedScopes().has('okta.none.read')))
})
