import { randomUUID, X509Certificate } from 'node:crypto'
import { Agent, request as httpsRequest } from 'node:https'
import { connect, type TLSSocket } from 'node:tls'
import t from 'tap'
import { client, later, request, respond, startRig, startStub, until } from '../support/gate.js'
import { RedisServer } from '../limits/redis-server.js'
import { makeCertificate, makeCrl } from '../upstream/certificates.js'
import { ASSERTION_TYPE, athOf, makePair, proof, sign } from './tokens.js'

const own = makePair('ES256')
const dpop = makePair('ES256')

t.test('a proof is verified at once and consumed only when the limits admit the call', async t => {
  const stub = await startStub(t)
  stub.answer = (_, socket) => { socket.write(respond(200, '[]')) }
  const policy = (limit: number): string => client('bound', `allow: [{ operation: listUsers, rateLimit: ${limit}/min }]`, ['privateKeyJwt: { jwks: { file: keys/bound.json }, dpop: required }']).text
  const rig = await startRig(t, { org: stub.origin, policies: { 'bound.yaml': policy(1), 'keys/bound.json': JSON.stringify({ keys: [own.jwk] }) } })
  const tokenUrl = `${rig.publicUrl}/oauth2/v1/token`
  const seconds = (): number => Math.floor(Date.now() / 1000)
  const ask = async (nonce?: string) => {
    const assertion = await sign(own, { iss: 'bound', sub: 'bound', aud: tokenUrl, exp: seconds() + 300, jti: randomUUID() })
    const form = new URLSearchParams({ grant_type: 'client_credentials', scope: 'okta.users.read', client_assertion_type: ASSERTION_TYPE, client_assertion: assertion }).toString()
    return await rig.ask(request('POST /oauth2/v1/token', undefined, ['Content-Type: application/x-www-form-urlencoded', `DPoP: ${await proof(dpop, { htu: tokenUrl, iat: seconds(), nonce })}`], form))
  }
  const first = await ask()
  t.match([first.status, first.text], [400, /use_dpop_nonce/])
  const second = await ask(first.header('dpop-nonce'))
  t.equal(second.status, 200)
  t.equal(second.header('cache-control'), 'no-store')
  const { access_token: token } = JSON.parse(second.text) as { access_token: string }
  const make = async () => await proof(dpop, { htm: 'GET', htu: `${rig.publicUrl}/api/v1/users`, iat: seconds(), ath: athOf(token) })
  const call = async (made: string) => await rig.ask(request('GET /api/v1/users', undefined, [`Authorization: DPoP ${token}`, `DPoP: ${made}`]))
  const used = await make()
  t.equal((await call(used)).status, 200)
  const held = await make()
  t.equal((await call(held)).status, 429, 'limited: the proof was looked at, and not consumed')
  rig.write('policies/bound.yaml', policy(100))
  await rig.gate.reload()
  t.equal((await call(held)).status, 200, 'the same proof after the 429')
  const again = await call(held)
  t.equal(again.status, 401, 'but not a second time')
  t.match(again.header('www-authenticate'), /^DPoP .*error="invalid_dpop_proof"/)
  t.match(again.text, /used before/)
  t.equal((await call(used)).status, 401)
  t.equal(stub.requests.length, 2, 'what was refused did not reach Okta')
  t.notOk(stub.requests.some(received => received.header('dpop') !== undefined), 'no proof of a client reaches Okta')
  t.equal((await rig.ask(request('GET /api/v1/users', undefined, ['Authorization: Bearer undefined']))).status, 401)
  const events = await rig.events(8)
  t.notOk(/eyJ[A-Za-z0-9_-]{10}/.test(rig.auditText() + rig.log()), 'no token, proof or assertion in any log')
  t.equal(events.length, 8)
})

t.test('a client certificate is a caller where its authority is known, and the header only from a trusted proxy', async t => {
  const stub = await startStub(t)
  stub.answer = (_, socket) => { socket.write(respond(200, '[]')) }
  const authority = makeCertificate({ commonName: 'server authority', authority: true })
  const leaf = makeCertificate({ commonName: 'gate', names: ['localhost', '127.0.0.1'], issuer: authority })
  const people = makeCertificate({ commonName: 'client authority', authority: true })
  const known = makeCertificate({ commonName: 'mesh', names: ['spiffe://acme/mesh'], issuer: people })
  const stranger = makeCertificate({ commonName: 'mesh', names: ['spiffe://acme/mesh'], issuer: makeCertificate({ commonName: 'client authority', authority: true }) })
  const rules = 'allow: [{ operation: listUsers }]'
  const files = { 'cert.pem': leaf.cert, 'key.pem': leaf.key, 'clients.pem': people.cert }
  const policies = { 'mesh.yaml': client('mesh', rules, ['mtls: { uri: spiffe://acme/mesh }']).text }
  const tls = 'tls: { cert: { file: cert.pem }, key: { file: key.pem }, clientCa: { file: clients.pem } }'
  const direct = await startRig(t, { org: stub.origin, policies, files, listen: tls })
  const call = async (port: number, certificate?: { cert: string, key: string }, headers: Record<string, string> = {}): Promise<number> => await new Promise((resolve, reject) => {
    httpsRequest({ host: '127.0.0.1', port, path: '/api/v1/users', ca: authority.cert, cert: certificate?.cert, key: certificate?.key, agent: false, headers }, answer => { answer.resume(); resolve(answer.statusCode!) }).on('error', reject).end()
  })
  const header = { 'client-cert': `:${new X509Certificate(known.cert).raw.toString('base64')}:` }
  t.equal(await call(direct.port, known), 200)
  t.equal(await call(direct.port, stranger), 401, 'of another authority of the same name')
  t.equal(await call(direct.port), 401)
  t.equal(await call(direct.port, undefined, header), 401, 'the header of nobody in particular')
  t.same((await direct.events(4)).map(event => event['authentication'] ?? event['reason']), ['mtls', 'bad_credential', 'no_credential', 'no_credential'])

  const behind = await startRig(t, { org: stub.origin, policies, files, listen: `${tls}, trustedProxies: [127.0.0.0/8], clientCertHeader: true` })
  t.equal(await call(behind.port, undefined, header), 200, 'of a trusted proxy')
  t.equal(await call(behind.port, known), 401, 'whose own certificate is nobody\'s')
  t.equal(await call(behind.port, undefined, { 'client-cert': ':AAAA:' }), 401)
})

t.test('a key from outside its networks is an event of its own; a revoked key stops with the change of its file alone', async t => {
  const stub = await startStub(t)
  stub.answer = (_, socket) => { socket.write(respond(200, '[]')) }
  const rules = 'networks: [10.0.0.0/8]\nallow: [{ operation: listUsers }]'
  const [app, next] = [client('app', rules, ['privateKeyJwt: { jwks: { file: keys/app.json } }']), client('app', rules, ['privateKeyJwt: { jwks: { file: keys/app.json } }'])]
  const rig = await startRig(t, { org: stub.origin, policies: { 'app.yaml': app.text, 'keys/app.json': JSON.stringify({ keys: [own.jwk] }) }, listen: 'trustedProxies: [127.0.0.0/8]', pollMs: 600_000 })
  const call = async (authorization: string, source = '10.1.2.3') => await rig.ask(request('GET /api/v1/users', undefined, [`Authorization: ${authorization}`, `X-Forwarded-For: ${source}`]))
  const tokenUrl = `${rig.publicUrl}/oauth2/v1/token`
  const ask = async (source: string) => await rig.ask(request('POST /oauth2/v1/token', undefined, ['Content-Type: application/x-www-form-urlencoded; charset=UTF-8', `X-Forwarded-For: ${source}`],
    new URLSearchParams({ grant_type: 'client_credentials', client_assertion_type: ASSERTION_TYPE, client_assertion: await sign(own, { iss: 'app', sub: 'app', aud: tokenUrl, exp: Math.floor(Date.now() / 1000) + 300 }) }).toString()))
  const key = `SSWS ${app.key}`
  t.equal((await call(key)).status, 200)
  for (let i = 0; i < 3; i++) t.equal((await call(key, '192.0.2.1')).status, 403)
  t.match(await ask('192.0.2.1'), { status: 403, text: /access_denied/ }, 'at the token endpoint, too')
  const other = await rig.open()
  other.send(request('GET /oauth2/v1/token'))
  t.match(await other.answer(), { status: 405, lines: /Allow: POST/ }, 'which asks nobody for a key')
  const events = (await rig.events(6)).slice(1)
  for (const event of events.slice(0, 3)) t.match(event, { reason: 'network', client: 'app', keyId: app.sha256.slice(0, 8), authentication: 'apiKey', source: '192.0.2.1', detail: /from outside its networks/ })
  t.match(events[3], { reason: 'network', client: 'app', authentication: 'privateKeyJwt', source: '192.0.2.1' })
  t.equal(rig.log().match(/key_outside_network/g)?.length, 2, 'the log says it once for each key and address')
  const metrics = (await rig.admin('/metrics')).text
  t.match(metrics, new RegExp(`narrowgate_key_outside_network\\{client="app",key="${app.sha256.slice(0, 8)}"\\} 3`))
  t.match(metrics, new RegExp(`narrowgate_key_last_used_timestamp_seconds\\{client="app",key="${app.sha256.slice(0, 8)}",method="apiKey"\\} 1[0-9.]+`))

  const { access_token: token } = JSON.parse((await ask('10.1.2.3')).text) as { access_token: string }
  t.equal((await call(`Bearer ${token}`)).status, 200)
  rig.write('policies/keys/app.json', JSON.stringify({ keys: [dpop.jwk] }))
  const began = performance.now()
  t.ok(await until(async () => (await call(`Bearer ${token}`)).status === 401, 20_000), 'a key pair: its token is worth nothing')
  t.comment(`${Math.round(performance.now() - began)} ms after the change of the file`)
  t.match(await ask('10.1.2.3'), { status: 401, text: /invalid_client/ })
  rig.write('policies/app.yaml', next.text)
  const again = performance.now()
  t.ok(await until(async () => (await call(key)).status === 401, 20_000), 'a client key')
  t.comment(`${Math.round(performance.now() - again)} ms after the change of the file`)
  t.equal((await call(`SSWS ${next.key}`)).status, 200, 'and the new one works')
})

t.test('TLS files are taken up while the gate runs: a certificate that is revoked is refused, its live connection and its session too', async t => {
  const stub = await startStub(t)
  stub.answer = (_, socket) => { socket.write(respond(200, '[]')) }
  const authority = makeCertificate({ commonName: 'server authority', authority: true })
  const server = () => makeCertificate({ commonName: 'gate', names: ['localhost', '127.0.0.1'], issuer: authority })
  const people = makeCertificate({ commonName: 'client authority', authority: true })
  const ours = makeCertificate({ commonName: 'mesh', names: ['spiffe://acme/mesh'], issuer: people })
  const lost = makeCertificate({ commonName: 'mesh', names: ['spiffe://acme/mesh'], issuer: people })
  const first = server()
  const rig = await startRig(t, {
    org: stub.origin,
    policies: { 'mesh.yaml': client('mesh', 'allow: [{ operation: listUsers }]', ['mtls: { uri: spiffe://acme/mesh }']).text },
    files: { 'cert.pem': first.cert, 'key.pem': first.key, 'clients.pem': people.cert, 'crl.pem': makeCrl(people, []) },
    listen: 'tls: { cert: { file: cert.pem }, key: { file: key.pem }, clientCa: { file: clients.pem }, crl: { file: crl.pem } }, trustedProxies: [127.0.0.2/32], clientCertHeader: true',
    pollMs: 600_000
  })
  const call = async (agent: Agent | false, certificate: { cert: string, key: string }): Promise<number> => await new Promise((resolve, reject) => {
    httpsRequest({ host: '127.0.0.1', port: rig.port, path: '/api/v1/users', ca: authority.cert, cert: certificate.cert, key: certificate.key, agent }, answer => { answer.resume().once('end', () => { resolve(answer.statusCode!) }) }).on('error', reject).end()
  })
  const passedOn = async (certificate: { cert: string }): Promise<{ status: number, text: string }> => await new Promise((resolve, reject) => {
    const headers = { 'Client-Cert': `:${certificate.cert.replace(/-----[^-]+-----|\n/g, '')}:` }
    httpsRequest({ host: '127.0.0.1', port: rig.port, path: '/api/v1/users', ca: authority.cert, agent: false, localAddress: '127.0.0.2', headers }, answer => {
      let text = ''
      answer.on('data', chunk => { text += String(chunk) }).once('end', () => { resolve({ status: answer.statusCode!, text }) })
    }).on('error', reject).end()
  })
  const served = async (): Promise<string> => await new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: rig.port, ca: authority.cert, servername: 'localhost' }, () => { resolve(socket.getPeerX509Certificate()!.fingerprint256); socket.destroy() })
    socket.on('error', reject)
  })
  const alive = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => { alive.destroy() })
  t.equal(await call(alive, lost), 200)
  t.equal(await call(alive, lost), 200)
  t.equal((await passedOn(lost)).status, 200, 'as the balancer passes it on')
  const kept = Object.values(alive.freeSockets)[0]![0] as TLSSocket
  const session = await new Promise<Buffer>((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: rig.port, ca: authority.cert, servername: 'localhost', cert: lost.cert, key: lost.key, maxVersion: 'TLSv1.2' }, () => { resolve(socket.getSession()!); socket.end() })
    socket.on('error', reject)
  })
  const resume = async (): Promise<{ reused: boolean, status: string }> => await new Promise((resolve, reject) => {
    let text = ''
    const socket = connect({ host: '127.0.0.1', port: rig.port, ca: authority.cert, servername: 'localhost', cert: lost.cert, key: lost.key, maxVersion: 'TLSv1.2', session }, () => { socket.write('GET /api/v1/users HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n') })
    socket.on('data', chunk => { text += String(chunk) }).on('end', () => { resolve({ reused: socket.isSessionReused(), status: text.slice(9, 12) }) }).on('error', reject)
  })
  t.same(await resume(), { reused: true, status: '200' }, 'a session of before is resumed while nothing changes')

  const closed = new Promise(resolve => { kept.once('close', resolve) })
  rig.write('crl.pem', makeCrl(people, [lost]))
  t.ok(await until(async () => await call(false, lost) === 401, 20_000), 'revoked by the changed file alone')
  await closed
  t.pass('the connection that it had is closed')
  t.equal(await call(alive, lost), 401)
  t.same(await resume(), { reused: false, status: '401' }, 'nor does its TLS session live on')
  t.equal(await call(false, ours), 200, 'another certificate of the same name is as good as before')
  t.match(rig.auditText(), /client certificate: CERT_REVOKED/, 'and the event says why')
  t.match(rig.log(), /new TLS files/)
  t.match(await passedOn(lost), { status: 401, text: /the client certificate is revoked/ }, 'and a balancer can\'t pass it on')
  t.equal((await passedOn(ours)).status, 200)
  t.equal((await passedOn(makeCertificate({ commonName: 'mesh', names: ['spiffe://acme/mesh'], issuer: authority }))).status, 200, 'of authorities without a list here the balancer knows more')

  rig.write('crl.pem', '-----BEGIN X509 CRL-----\nbm9uZQ==\n-----END X509 CRL-----\n')
  t.ok(await until(() => /crl\.pem|no revocation list/.test(rig.log()), 20_000), 'a broken list is said')
  t.match(rig.log(), /stays in force/)
  t.equal(await call(false, lost), 401, 'and the last good one holds')
  t.equal(await call(false, ours), 200)
  rig.write('crl.pem', '')
  await rig.gate.reload()
  t.equal(await call(false, lost), 401, 'an empty file revokes nobody\'s revocation')
  rig.write('crl.pem', makeCrl(people, [lost], new Date('2021-01-01')))
  t.equal((await rig.gate.reload()).swapped, true)
  t.equal(await call(false, ours), 401, 'a list that is out of date vouches for nobody')
  t.match(rig.auditText(), /client certificate: CRL_HAS_EXPIRED/)
  t.match(await passedOn(ours), { status: 401, text: /out of date/ })
  rig.write('crl.pem', makeCrl(people, [lost]))
  await rig.gate.reload()
  t.equal(await call(false, ours), 200)

  const before = await served()
  const second = server()
  rig.write('cert.pem', second.cert)
  t.equal((await rig.gate.reload()).swapped, false, 'a certificate without its key is refused')
  t.equal(await served(), before)
  const stays = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => { stays.destroy() })
  t.equal(await call(stays, ours), 200)
  rig.write('key.pem', second.key)
  t.ok(await until(async () => await served() === new X509Certificate(second.cert).fingerprint256, 20_000), 'the pair is taken up')
  const [open] = Object.values(stays.freeSockets)[0]!
  t.equal(await call(stays, ours), 200)
  t.equal(Object.values(stays.freeSockets)[0]![0], open, 'and connections go on')
  t.equal(before, new X509Certificate(first.cert).fingerprint256)

  const others = makeCertificate({ commonName: 'new client authority', authority: true })
  rig.write('clients.pem', others.cert)
  rig.write('crl.pem', makeCrl(others, []))
  await rig.gate.reload()
  await later(50)
  t.equal(await call(stays, ours), 401, 'an authority that is believed no longer takes its certificates with it')
  t.equal(await call(false, makeCertificate({ commonName: 'mesh', names: ['spiffe://acme/mesh'], issuer: others })), 200)
})

t.test('gates that share a store accept each other\'s tokens and nonces, and a proof or an assertion once: at another gate, after a restart, while the store is away', async t => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const stub = await startStub(t)
  stub.answer = (_, socket) => { socket.write(respond(200, '[]')) }
  const publicUrl = 'https://gate.example.com'
  const tokenUrl = `${publicUrl}/oauth2/v1/token`
  const app = client('bound', 'allow: [{ operation: listUsers }]', ['privateKeyJwt: { jwks: { file: keys/bound.json }, dpop: required }'])
  const open = async (onStoreLoss: string) => await startRig(t, {
    org: stub.origin,
    publicUrl,
    policies: { 'bound.yaml': app.text, 'keys/bound.json': JSON.stringify({ keys: [own.jwk] }) },
    limits: "{ org: { '*': 1000000 }, concurrency: 1000, store: { redis: { url: { env: REDIS_URL }, commandTimeoutMs: 2000, replicas: 3 } } }",
    tokens: `{ keys: [{ env: TOKEN_KEY }], onStoreLoss: ${onStoreLoss} }`,
    environment: { REDIS_URL: redis.url, TOKEN_KEY: signing.secret.export({ type: 'pkcs8', format: 'pem' }) as string }
  })
  const signing = makePair('ES256')
  const [one, two, alone] = [await open('refuse'), await open('refuse'), await open('alone')]
  const seconds = (): number => Math.floor(Date.now() / 1000)
  const assertion = async () => await sign(own, { iss: 'bound', sub: 'bound', aud: tokenUrl, exp: seconds() + 300, jti: randomUUID() })
  const ask = async (rig: typeof one, made: string, nonce?: string) => await rig.ask(request('POST /oauth2/v1/token', undefined, ['Content-Type: application/x-www-form-urlencoded', `DPoP: ${await proof(dpop, { htu: tokenUrl, iat: seconds(), nonce })}`],
    new URLSearchParams({ grant_type: 'client_credentials', client_assertion_type: ASSERTION_TYPE, client_assertion: made }).toString()))
  const nonce = (await ask(one, await assertion())).header('dpop-nonce')
  const used = await assertion()
  const issued = await ask(two, used, nonce)
  t.equal(issued.status, 200, 'the nonce of one gate is good at another')
  t.match(await ask(one, used, nonce), { status: 401, text: /used before/ }, 'an assertion is not, twice')
  const { access_token: token } = JSON.parse(issued.text) as { access_token: string }
  const make = async () => await proof(dpop, { htm: 'GET', htu: `${publicUrl}/api/v1/users`, iat: seconds(), ath: athOf(token) })
  const call = async (rig: typeof one, made: string) => await rig.ask(request('GET /api/v1/users', undefined, [`Authorization: DPoP ${token}`, `DPoP: ${made}`]))
  // A gate that comes makes all count anew what each may spend: for a moment 429s are in order.
  const settled = async (...rigs: Array<typeof one>): Promise<void> => { for (const rig of rigs) t.ok(await until(async () => (await call(rig, await make())).status === 200, 20_000), 'the gate admits calls') }
  await settled(one, two, one)
  const once = await make()
  t.equal((await call(one, once)).status, 200, 'and so is the token')
  t.match(await call(two, once), { status: 401, text: /used before/ }, 'its proof was used at the other gate')
  t.match(await call(one, once), { status: 401 })
  await two.gate.drain(100)
  const again = await open('refuse')
  await settled(again, one)
  t.match(await call(again, once), { status: 401, text: /used before/ }, 'a gate that has just started knows what was used')
  const both = await make()
  t.same((await Promise.all([call(one, both), call(again, both)])).map(({ status }) => status).sort(), [200, 401], 'at the same moment: one of them')

  await redis.kill()
  const kept = await make()
  t.match(await call(one, kept), { status: 503, text: /used before/ }, 'no store, no DPoP call')
  t.match(await ask(one, await assertion(), nonce), { status: 503, text: /temporarily_unavailable/ })
  t.match(await call(one, once), { status: 401 }, 'what this gate has seen itself it still refuses as used')
  t.equal((await one.ask(request('GET /api/v1/users', app.key))).status, 200, 'other callers are none the worse')
  const own2 = await make()
  t.equal((await call(alone, own2)).status, 200, 'alone: this gate goes on')
  t.equal((await call(alone, own2)).status, 401, 'by what it has seen')
  t.match((await one.admin('/metrics')).text, /narrowgate_replay_store_up 0/)
  t.match(one.log(), /store of used ids .* are refused/)
  await redis.start()
  t.ok(await until(async () => (await call(one, await make())).status === 200, 20_000), 'the store is there again')
  t.equal((await call(one, kept)).status, 200, 'a proof that was refused for want of a store was not used')
  t.equal((await call(one, once)).status, 401, 'an emptied store does not bring back what this gate has seen')
  t.match((await one.admin('/metrics')).text, /narrowgate_replay_store_up 1/)
})
