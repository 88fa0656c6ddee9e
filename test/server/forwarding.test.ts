import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { startEmulator } from '../../src/emulator/server.js'
import { findTripped } from '../../src/emulator/received.js'
import { createCatalog } from '../../src/okta/catalog.js'
import { AUTHN_TOKEN, client, later, request, respond, startRig, startStub, until, UPSTREAM_TOKEN } from '../support/gate.js'
import { makeCertificate } from '../upstream/certificates.js'

const CLIENT_ID = '0oanarrowgate0000001'
const rules = createCatalog().operations.filter(({ reserved, id }) => !reserved && id !== 'authnRecoveryPassword')
  .map(({ id }) => `  - { operation: ${JSON.stringify(id)}, query: any }`).join('\n')
const everything = client('everything', `allow:\n${rules}`)
const policies = { 'everything.yaml': everything.text }
const KEY = everything.key
const LIST = 'GET /api/v1/users'

// The gate's own token has to be older than ten seconds before a 401 makes it fetch another: this one ages meanwhile.
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const appScopes = ['okta.users.read', 'okta.users.manage', 'okta.groups.read']
const directory = client('directory', 'allow: [{ operation: listUsers }, { operation: getUser }, { operation: deleteUser }, { operation: getApplication }, { operation: listGroups }]')
const emulator = await startEmulator({
  serviceApps: [{ clientId: CLIENT_ID, jwks: { keys: [{ ...pair.publicKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' } as never] }, scopes: [...appScopes, 'okta.apps.read'] }],
  apiTokens: [{ token: UPSTREAM_TOKEN }, { token: AUTHN_TOKEN }],
  rateLimits: { '/api/v1/users': 10_000, '/oauth2/v1/token': 10_000 }
})
t.teardown(() => emulator.close())
const service = await startRig(t, {
  org: emulator.url,
  policies: { 'directory.yaml': directory.text },
  credential: `serviceApp: { clientId: ${CLIENT_ID}, keys: [{ file: key.pem }] }`,
  files: { 'key.pem': pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
})
const tokenRequests = (): number => emulator.received.all.filter(({ target }) => target === '/oauth2/v1/token').length

const stub = await startStub(t)
const rig = await startRig(t, {
  org: stub.origin,
  policies,
  upstream: 'authnToken: { value: { env: AUTHN_TOKEN }, exception: { ticket: SEC-2, approvedBy: tests, expires: 2099-01-01 } }'
})
const usual = stub.answer
t.afterEach(async () => { stub.requests.length = 0; stub.answer = usual; await rig.events(0) })

t.test('method, target and body arrive byte for byte', async t => {
  const json = ['Content-Type: application/json']
  const gzip = gzipSync('{"a":1}')
  const multipart = '--x\r\nContent-Disposition: form-data; name="file"; filename="l.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\x00\xff\r\n--x--\r\n'
  const cases: readonly (readonly [string, readonly string[], string | undefined])[] = [
    ['GET /api/v1/users?limit=2&after=a%2Bb+c&search=status%20eq%20%22ACTIVE%22&x', [], undefined],
    ['GET /api/v1/users?', [], undefined],
    ['GET /api/v1/users?a=/../&b=//x', [], undefined],
    ['GET /api/v1/users/isaac%40example.com', [], undefined],
    ['GET /api/v1/users/isaac.b+c@example.com', [], undefined],
    ['GET /api/v1/users/first%20last', [], undefined],
    ['GET /api/v1/users/a!$&\'()*,=:b', [], undefined],
    ['POST /api/v1/users?activate=false', json, '{"profile": {"login":"\\u00e9"} }\r\n'],
    ['POST /api/v1/users', json, '\xff\xfe not JSON'],
    ['PUT /api/v1/users/00u1', ['Content-Type: application/json; charset=utf-8'], '{}'],
    ['POST /api/v1/brands/b/themes/t/logo', ['Content-Type: multipart/form-data; boundary=x'], multipart],
    ['POST /api/v1/users', [...json, 'Content-Encoding: gzip'], gzip.toString('latin1')],
    ['POST /api/v1/users/00u1/lifecycle/suspend', ['Content-Length: 0'], undefined],
    ['POST /api/v1/users/00u1/lifecycle/suspend', [], undefined],
    ['POST /api/v1/users/00u1/lifecycle/suspend', [...json, 'Content-Length: 0'], undefined],
    ['POST /api/v1/users/00u1/lifecycle/suspend', json, undefined],
    ['PUT /api/v1/groups/00g1/users/00u1', json, undefined],
    ['DELETE /api/v1/groups/00g1/users/00u1', json, undefined],
    ['DELETE /api/v1/groups/00g1/users/00u1', [...json, 'Content-Length: 0'], undefined],
    ['DELETE /api/v1/users/00u1?sendEmail=true', ['Prefer: respond-async'], undefined],
    ['POST /api/v1/authn', json, '{"username":"u","password":"p"}'],
    ['POST /api/v1/authn/', json, '{"stateToken":"x"}']
  ]
  for (const [line, headers, body] of cases) {
    stub.requests.length = 0
    const length = body === undefined ? [] : [`Content-Length: ${body.length}`]
    t.equal((await rig.ask(request(line, KEY, [...headers, ...length]) + (body ?? ''))).status, 200, line)
    const [received, ...more] = stub.requests
    t.equal(received?.line, `${line} HTTP/1.1`, line)
    t.equal(received?.body.toString('latin1'), body ?? '', `${line}: body`)
    const lengths = received?.headers.filter(([name]) => name.toLowerCase() === 'content-length').map(([, value]) => value)
    t.same(lengths, body !== undefined ? [String(body.length)] : /^P/.test(line) ? ['0'] : [], `${line}: length`)
    t.equal(received?.header('transfer-encoding'), undefined)
    for (const header of headers.filter(header => !/length/i.test(header))) t.ok(received?.headers.some(([name, value]) => `${name}: ${value}` === header), header)
    t.equal(more.length, 0)
  }
})

t.test('a chunked body is sent whole, with one exact length', async t => {
  await rig.ask(`${request('POST /api/v1/users', KEY, ['Content-Type: application/json', 'Transfer-Encoding: chunked', 'Trailer: X-Digest'])}5;ext=1\r\n{"a":\r\n2\r\n1}\r\n0\r\nX-Digest: 1\r\n\r\n`)
  t.equal(stub.requests[0]?.body.toString(), '{"a":1}')
  t.same(stub.requests[0]?.headers.filter(([name]) => /length|encoding|trailer|digest/i.test(name)), [['content-length', '7']])
})

t.test('Expect: 100-continue is answered by the gate and not passed on', async t => {
  const connection = await rig.open()
  connection.send(request('POST /api/v1/users', KEY, ['Content-Type: application/json', 'Expect: 100-continue', 'Content-Length: 2']))
  await until(() => connection.received > 0)
  t.equal(stub.requests.length, 0, 'nothing is sent before the body is here')
  connection.send('{}')
  t.equal((await connection.answer())?.status, 200)
  t.same(connection.informational, [100])
  t.equal(stub.requests[0]?.header('expect'), undefined)
  connection.destroy()
})

t.test('headers pass by the allowlist only, in both directions', async t => {
  const passing = ['Accept: application/json', 'Accept-Language: en', 'If-Match: W/"1"', 'User-Agent: okta-sdk-python/2.9', 'X-Okta-User-Agent-Extended: isDefault', 'X-Okta-Retry-Count: 1', 'Prefer: respond-async']
  const staying = ['Cookie: sid=1', 'X-Forwarded-For: 1.2.3.4', 'X-Forwarded-Host: evil', 'X-Forwarded-Proto: http', 'Forwarded: for=1.2.3.4', 'X-Real-IP: 1.2.3.4', 'Via: 1.1 x', 'DPoP: eyJ', 'X-HTTP-Method-Override: DELETE', 'X-Method-Override: DELETE', 'X-HTTP-Method: DELETE', 'X-Original-URL: /admin', 'X-Rewrite-URL: /admin', 'Proxy-Authorization: Basic x', 'TE: trailers', 'Keep-Alive: 5', 'X-Device-Fingerprint: f', 'Origin: https://evil', 'Range: bytes=0-1', 'Connection: keep-alive, Cookie']
  stub.answer = (_, socket) => {
    socket.write(respond(200, '[]', ['Content-Type: application/json', 'Set-Cookie: sid=1; Path=/', 'set-cookie: JSESSIONID=2', 'X-Okta-Request-Id: req1', 'ETag: W/"2"', 'Alt-Svc: h3', 'Access-Control-Allow-Origin: *', 'Clear-Site-Data: "*"', 'Trailer: X', 'Keep-Alive: timeout=5', 'X-Rate-Limit-Limit: 600', 'Strict-Transport-Security: max-age=1', 'P3P: x']))
  }
  const answer = await rig.ask(request(LIST, KEY, [...passing, ...staying]))
  const [received] = stub.requests
  const arrived = received?.headers.map(([name, value]) => `${name}: ${value}`) ?? []
  for (const header of passing) t.ok(arrived.includes(header), header)
  for (const header of staying.slice(0, -1)) t.notOk(arrived.some(one => one.toLowerCase().startsWith(header.split(':')[0]!.toLowerCase() + ':')), header)
  t.equal(received?.header('host'), stub.origin.slice(7))
  t.same(received?.headers.filter(([name]) => name.toLowerCase() === 'authorization').map(([, value]) => value), [`SSWS ${UPSTREAM_TOKEN}`])
  for (const name of ['set-cookie', 'alt-svc', 'access-control-allow-origin', 'clear-site-data', 'trailer']) t.same(answer.all(name), [], name)
  t.same(['x-okta-request-id', 'etag', 'x-rate-limit-limit', 'p3p'].map(name => answer.header(name)), ['req1', 'W/"2"', '600', 'x'])
  t.match((await rig.events(1))[0], { oktaRequestId: 'req1', upstreamStatus: 200, bytesOut: 2, credential: 'upstream', bucket: '/api/v1/users', queryNames: undefined })
})

t.test('each credential goes out with the calls that it belongs to', async t => {
  const internal = client('internal', 'allow:\n  - { request: POST /api/v1/authn/recovery/password, credential: authnToken }\n  - { request: POST /api/v1/authn }\n  - { operation: listUsers }')
  const other = await startRig(t, { org: stub.origin, policies: { 'internal.yaml': internal.text }, upstream: 'authnToken: { value: { env: AUTHN_TOKEN }, exception: { ticket: SEC-2, approvedBy: tests, expires: 2020-01-01 } }' })
  t.equal((await other.ask(request('POST /api/v1/authn/recovery/password', internal.key, [], '{}'))).status, 503, 'the exception of the authnToken has expired')
  t.equal((await other.ask(request('POST /api/v1/authn', internal.key, [], '{}'))).status, 200)
  t.equal((await other.ask(request(LIST, internal.key))).status, 200)
  t.same(stub.requests.map(one => one.header('authorization')), [undefined, `SSWS ${UPSTREAM_TOKEN}`])
  t.same((await other.events(3)).map(event => event['reason'] ?? event['credential']), ['exception_expired', 'none', 'upstream'])
})

t.test('an API token whose exception has expired is not used', async t => {
  const late = await startRig(t, { org: stub.origin, policies, credential: 'apiToken: { value: { env: UPSTREAM_TOKEN }, exception: { ticket: SEC-1, approvedBy: tests, expires: 2020-01-01 } }' })
  const answer = await late.ask(request(LIST, KEY))
  t.equal(answer.status, 503)
  t.match(answer.error.errorSummary, /exception/)
  for (const name of ['date', 'x-rate-limit-reset', 'x-rate-limit-limit', 'x-rate-limit-remaining', 'retry-after']) t.equal(answer.all(name).length, 1, name)
  t.equal(stub.requests.length, 0)
})

t.test('links lead back to the gate, line by line', async t => {
  const { origin } = stub
  const links = [`<${origin}/api/v1/users?limit=2>; rel="self"`, `<${origin}/api/v1/users?after=x&limit=2>; rel="next"`, '<https://elsewhere.example/x>; rel="help"']
  stub.answer = (_, socket) => { socket.write(respond(201, `{"_links":{"self":{"href":"${origin}/api/v1/users/1"}}}`, ['Content-Type: application/json', ...links.map(link => `Link: ${link}`), `Location: ${origin}/api/v1/users/00u1`])) }
  const answer = await rig.ask(request(LIST, KEY))
  t.same(answer.all('link'), links.map(link => link.replace(/<https?:\/\/[^/]*/, `<${rig.publicUrl}`)), 'wherever they led: a client follows them with its key')
  t.equal(answer.header('location'), `${rig.publicUrl}/api/v1/users/00u1`)
  t.match(answer.text, origin, 'bodies stay as they are')
  stub.requests.length = 0
  const authn = await rig.ask(request('POST /api/v1/authn', KEY, ['Accept-Encoding: gzip'], '{}'))
  t.match(JSON.parse(authn.text), { _links: { self: { href: `${rig.publicUrl}/api/v1/users/1` } } }, 'but for those of /authn')
  t.equal(Number(authn.header('content-length')), authn.body.length)
  t.equal(stub.requests[0]?.header('accept-encoding'), 'identity')
  stub.answer = (_, socket) => { socket.write(respond(302, '', ['Location: https://evil.example/'])) }
  const away = await rig.ask(request(LIST, KEY))
  t.equal(away.status, 302)
  t.not(away.header('location'), 'http://evil.example/')
  t.equal(stub.requests.length, 2, 'no redirect is followed')
})

t.test('a list of 160 MB streams at the reader\'s pace, without growing the gate', async t => {
  const block = randomBytes(1 << 20)
  const blocks = 160
  const whole = createHash('sha256')
  let written = 0
  stub.answer = (_, socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${block.length * blocks}\r\n\r\n`)
    const more = (): void => { while (written < blocks) { written++; whole.update(block); if (!socket.write(block)) { socket.once('drain', more); return } } }
    more()
  }
  const socket = connect(rig.port, '127.0.0.1')
  const seen = createHash('sha256')
  let bytes = 0
  let head = true
  let ahead = 0
  socket.on('data', chunk => {
    let data = chunk
    if (head) { data = chunk.subarray(chunk.indexOf('\r\n\r\n') + 4); head = false }
    seen.update(data)
    bytes += data.length
    ahead = Math.max(ahead, written * block.length - bytes)
  })
  socket.pause()
  socket.write(request(LIST, KEY))
  await later(700)
  t.ok(written < 20, `${written} MB have left the upstream while nobody reads`)
  socket.resume()
  t.ok(await until(() => bytes === block.length * blocks, 8000), `${bytes} bytes`)
  t.equal(seen.digest('hex'), whole.digest('hex'))
  t.ok(ahead < 20 * block.length, `${Math.round(ahead / block.length)} MB at most were under way, in the gate and in the kernel`)
  socket.destroy()
  t.match((await rig.events(1))[0], { outcome: 'allowed', bytesOut: block.length * blocks })
})

t.test('a client that hangs up ends the upstream call, and is one event', async t => {
  stub.answer = () => {}
  const closed = stub.closed
  const connection = await rig.open()
  connection.send(request(LIST, KEY))
  await until(() => stub.requests.length === 1)
  connection.destroy()
  t.ok(await until(() => stub.closed > closed), 'the upstream connection is closed')
  const events = await rig.events(1)
  t.equal(events.length, 1)
  t.match(events[0], { outcome: 'aborted', operation: 'listUsers', status: undefined })
  stub.answer = (_, socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{') }
  const second = await rig.open()
  second.send(request(LIST, KEY))
  await until(() => second.received > 50)
  second.destroy()
  const more = await rig.events(1)
  t.equal(more.length, 1, 'in mid-answer, too')
  t.match(more[0], { outcome: 'aborted' })
  stub.answer = () => {}
  const before = stub.closed
  const third = await rig.open()
  stub.requests.length = 0
  third.send(request(LIST, KEY))
  t.ok(await until(() => stub.requests.length === 1))
  third.socket.end()
  t.ok(await until(() => stub.closed > before), 'and who ends only its own direction')
  t.ok(await third.ends())
  t.match(await rig.events(1), [{ outcome: 'aborted' }])
})

t.test('an answer that breaks off never looks whole', async t => {
  stub.answer = (_, socket) => { socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{') }
  const connection = await rig.open()
  connection.send(request(LIST, KEY))
  t.equal(await connection.answer(), undefined)
  t.match((await rig.events(1))[0], { outcome: 'failed', truncated: true })
})

t.test('one failure of Okta\'s is one call', async t => {
  for (const status of [500, 502, 503, 504, 429, 408]) {
    stub.requests.length = 0
    stub.answer = (_, socket) => { socket.write(respond(status, '{"errorCode":"E0000009"}', ['Content-Type: application/json', 'Retry-After: 1'])) }
    // Another operation each time: a 429 closes its bucket for a moment.
    const answer = await rig.ask(request(status === 429 ? 'GET /api/v1/groups' : LIST, KEY))
    t.equal(answer.status, status)
    t.equal(answer.text, '{"errorCode":"E0000009"}')
    await later(60)
    t.equal(stub.requests.length, 1, `${status}`)
  }
})

t.test('Okta\'s refusals of the caller pass, those of the gate\'s credential do not', async t => {
  const refusal = (code: string): void => { stub.answer = (_, socket) => { socket.write(respond(401, `{"errorCode":"${code}","errorSummary":"x"}`)) } }
  refusal('E0000004')
  const signIn = await rig.ask(request('POST /api/v1/authn', KEY, [], '{}'))
  t.equal(signIn.status, 401)
  t.equal(signIn.error.errorCode, 'E0000004')
  refusal('E0000011')
  t.equal((await rig.ask(request('POST /api/v1/authn', KEY, [], '{}'))).status, 401, 'a call that carried no credential of the gate')
  const token = await rig.ask(request(LIST, KEY))
  t.equal(token.status, 502)
  t.match(token.error, { errorCode: 'E0000009' })
  t.equal(stub.requests.length, 3, 'an API token has no successor: no second try')
  stub.answer = (_, socket) => { socket.write(respond(403, '', ['WWW-Authenticate: Bearer error="insufficient_scope"'])) }
  t.match((await rig.ask(request(LIST, KEY))).header('www-authenticate'), /insufficient_scope/, 'a missing scope is told as Okta tells it')
})

t.test('an upstream that can\'t prove who it is gets no byte of a request', async t => {
  const own = makeCertificate({ commonName: 'okta', names: ['127.0.0.1'] })
  const ca = makeCertificate({ commonName: 'ca', authority: true })
  const good = makeCertificate({ commonName: 'okta', names: ['127.0.0.1'], issuer: ca })
  const wrong = makeCertificate({ commonName: 'okta', names: ['127.0.0.2'], issuer: ca })
  for (const [name, certificate, status] of [['self-signed', own, 502], ['another name', wrong, 502], ['a good one', good, 200]] as const) {
    const tls = await startStub(t, { cert: certificate.cert, key: certificate.key })
    const gate = await startRig(t, { org: tls.origin, policies, upstream: 'ca: { file: ca.pem }', files: { 'ca.pem': ca.cert } })
    const answer = await gate.ask(request('POST /api/v1/users', KEY, [], '{"secret":1}'))
    t.equal(answer.status, status, name)
    t.equal(tls.bytes === 0, status === 502, `${name}: ${tls.bytes} bytes`)
    if (status === 502) t.match(answer.error.errorSummary, /not sent/, name)
  }
})

t.test('the gate\'s own credential is out of reach, whatever the policy says', async t => {
  const lines = ['DELETE /api/v1/api-tokens/current', 'DELETE /api/v1/api-tokens/Current', 'GET /api/v1/users/me', 'GET /api/v1/users/ME', 'POST /api/v1/users/me/lifecycle/deactivate', 'GET /api/v1/users/me/factors', 'DELETE /api/v1/users/me/sessions', 'GET /api/v1/sessions/me']
  for (const line of lines) {
    const answer = await rig.ask(request(line, KEY))
    t.match(String(answer.status), /^40[35]$/, line)
    t.match((await rig.events(1))[0], { reason: 'self_protection' }, line)
  }
  t.equal(stub.requests.length, 0)
  const before = emulator.received.count
  for (const line of [`GET /api/v1/apps/${CLIENT_ID}`, `GET /api/v1/apps/${CLIENT_ID.toUpperCase()}`, `DELETE /api/v1/users/${CLIENT_ID}`]) t.equal((await service.ask(request(line, directory.key))).status, 403, line)
  t.same((await service.events(3)).map(event => event['reason']), ['self_protection', 'self_protection', 'self_protection'])
  t.equal(emulator.received.count, before)
})

t.test('a revoked access token is replaced once, by one request for any number of calls', async t => {
  t.equal((await service.ask(request(LIST, directory.key))).status, 200)
  const first = tokenRequests()
  t.equal(first, 1)
  const revoke = (): void => { for (const token of [...emulator.org.accessTokens.keys()]) emulator.revokeToken(token) }
  await service.events(1)
  revoke()
  const answers = await Promise.all(Array.from({ length: 50 }, () => service.ask(request(LIST, directory.key))))
  t.same(new Set(answers.map(answer => answer.status)), new Set([200]), 'fifty calls succeed')
  t.equal(tokenRequests() - first, 1, 'with one token request')
  const events = await service.events(50)
  t.equal(events.length, 50)
  t.ok(events.some(event => event['resent'] === true))
  revoke()
  const before = emulator.received.count
  const refused = await service.ask(request(LIST, directory.key))
  t.equal(refused.status, 502, 'a token that was just issued is not replaced again')
  t.match(refused.error.errorSummary, /credential of the gate/)
  t.equal(emulator.received.count - before, 1)
  t.same(findTripped(emulator.received.all, [directory.key]), [])
  const scopes = (await service.admin('/readyz')).text
  t.match(scopes, /"scopes":\["okta\.apps\.read","okta\.groups\.read","okta\.users\.manage"\]/, 'what the policy needs, and no more')
})
