import { randomBytes } from 'node:crypto'
import t from 'tap'
import { newKey } from '../../src/clients/api-key.js'
import { rejections } from '../../src/domain/rejection.js'
import { Outbox } from '../../src/server/outbox.js'
import { AUTHN_TOKEN, client, request, startRig, startStub, UPSTREAM_TOKEN, type AuditLine } from '../support/gate.js'
import { RawClient } from '../support/raw-client.js'

const second = newKey(randomBytes)
const old = newKey(randomBytes)
const app = client('app', `allow:
  - operation: listUsers
    as: look around
  - operation: getUser
  - request: POST /api/v1/users/{userId}/lifecycle/activate?sendEmail=false
    as: activate user
  - operation: updateUser
    as: change user name
    where: { id: [00uallowed] }
    body: { only: [profile.login, profile.email] }
  - operation: updateUser
    as: set password
    body: { only: [credentials.password.value], require: { credentials.password.value: { pattern: '.{8,}' } } }
  - operation: updateUser
    as: set recovery question
    body: { only: ['credentials.recovery_question.*'] }
  - operation: createUser
  - operation: deleteUser
deny:
  - deleteUser
`, [`apiKey: { sha256: ${second.sha256} }`, `apiKey: { sha256: ${old.sha256}, expires: 2020-01-01 }`])
const office = client('office', 'networks: [10.1.0.0/16, "2001:db8::/32"]\nallow: [{ operation: listUsers }]')
const local = client('local', 'networks: [127.0.0.0/8]\nallow: [{ operation: listUsers }]')
const past = client('past', 'expires: 2020-01-01\nallow: [{ operation: listUsers }]')
const stub = await startStub(t)
const rig = await startRig(t, {
  org: stub.origin,
  policies: { 'app.yaml': app.text, 'office.yaml': office.text, 'local.yaml': local.text, 'past.yaml': past.text },
  listen: 'bodyLimitBytes: 2048, trustedProxies: [127.0.0.1/32]'
})
const LIST = 'GET /api/v1/users'
/** what may stand in no log, event, metric or answer */
const secrets = [app.key, second.key, old.key, office.key, past.key, UPSTREAM_TOKEN, AUTHN_TOKEN]
const planted = (name: string): string => { const text = `PLANTED${name}${randomBytes(6).toString('hex')}`; secrets.push(text); return text }
const everyAnswer: string[] = []

/** One request, its answer, its one event, and whether it arrived. */
async function walk (bytes: string): Promise<{ status: number, event: AuditLine, text: string, header: (name: string) => string | undefined, causes: string, arrived: number }> {
  stub.requests.length = 0
  const answer = await rig.ask(bytes)
  const events = await rig.events(1)
  everyAnswer.push(answer.lines.join('\n'), answer.text)
  if (events.length !== 1) throw new Error(`${events.length} events for ${bytes.slice(0, 80)}`)
  const event = events[0]!
  const refusal = event['reason'] !== undefined
  if (refusal && (answer.error.errorId !== event.id || answer.header('x-narrowgate-request-id') !== event.id)) throw new Error('the ids differ')
  if (event['status'] !== answer.status) throw new Error(`the event says ${String(event['status'])}, the client saw ${answer.status}`)
  return { status: answer.status, event, text: answer.text, header: name => answer.header(name), causes: refusal ? answer.error.errorCauses.map(cause => cause.errorSummary).join(' | ') : '', arrived: stub.requests.length }
}

t.test('an answer that can not be sent keeps no other one back', async t => {
  const turns: (() => void)[] = []
  const sent: string[] = []
  const outbox = new Outbox(run => { turns.push(run) })
  outbox.push(() => { sent.push('first') })
  outbox.push(() => { throw new Error('this one') })
  outbox.push(() => { sent.push('third') })
  t.throws(turns.shift()!, /this one/)
  outbox.push(() => { sent.push('fourth') })
  while (turns.length > 0) turns.shift()!()
  t.same(sent, ['first', 'third', 'fourth'])
})

t.test('a key is taken in the three spellings that Okta\'s clients use', async t => {
  for (const value of [`SSWS ${app.key}`, `SSWS${app.key}`, `Bearer ${app.key}`, `ssws ${app.key}`, `SSWS ${second.key}`]) {
    const { status, event } = await walk(request(LIST, undefined, [`Authorization: ${value}`]))
    t.equal(status, 200, value.slice(0, 8))
    t.match(event, { client: 'app', authentication: 'apiKey', outcome: 'allowed', rule: 'look around', operation: 'listUsers', decision: 'allow' })
    t.equal(stub.requests[0]?.header('authorization'), `SSWS ${UPSTREAM_TOKEN}`, 'and replaced by the gate\'s')
  }
})

t.test('what is no valid key is 401 and goes nowhere', async t => {
  const damaged = app.key.slice(0, -1) + (app.key.endsWith('a') ? 'b' : 'a')
  const cases: readonly (readonly [string, string | undefined, RegExp])[] = [
    ['none', undefined, /^$/],
    ['a damaged one', `SSWS ${damaged}`, /damaged/],
    ['an unknown one', `SSWS ${newKey(randomBytes).key}`, /no policy lists/],
    ['an expired one', `SSWS ${old.key}`, /expired on 2020-01-01/],
    ['an Okta token', `SSWS ${planted('oktatoken')}`, /not a key of this gate/],
    ['Basic', `Basic ${Buffer.from(`x:${app.key}`).toString('base64')}`, /./],
    ['two words', `SSWS ${app.key} x`, /./]
  ]
  for (const [name, value, cause] of cases) {
    const { status, event, causes, arrived, header } = await walk(request(LIST, undefined, value === undefined ? [] : [`Authorization: ${value}`]))
    t.equal(status, 401, name)
    t.match(causes, cause, name)
    t.equal(arrived, 0)
    t.ok(header('www-authenticate'))
    t.match(event, { outcome: 'refused', decision: 'deny', stage: 'identify' })
  }
})

t.test('networks hold for the source, which a trusted balancer may name', async t => {
  const from = async (key: string, forwarded?: string): Promise<string> => {
    const { status, event } = await walk(request(LIST, key, forwarded === undefined ? [] : [`X-Forwarded-For: ${forwarded}`]))
    return `${status} ${String(event['source'])}`
  }
  t.equal(await from(local.key), '200 127.0.0.1')
  t.equal(await from(office.key), '403 127.0.0.1')
  t.equal(await from(office.key, '10.1.2.3'), '200 10.1.2.3')
  t.equal(await from(office.key, '10.2.2.3'), '403 10.2.2.3')
  t.equal(await from(office.key, '2001:db8::7'), '200 2001:db8::7')
  t.equal(await from(office.key, '2001:db9::7'), '403 2001:db9::7')
  t.equal(await from(office.key, '::ffff:10.1.2.3'), '200 10.1.2.3')
  t.equal(await from(office.key, '10.1.2.3, 203.0.113.9'), '403 203.0.113.9', 'only what stands last was written by the balancer')
  t.equal(await from(local.key, '10.1.2.3'), '403 10.1.2.3')
  t.match(await from(office.key, 'nonsense'), /^403 /)
  t.equal((await walk(request(LIST, office.key))).event['reason'], 'network')
})

t.test('without trustedProxies, X-Forwarded-For means nothing; an IPv6 peer is itself', async t => {
  const here = client('here', 'networks: ["::1/128"]\nallow: [{ operation: listUsers }]')
  const six = await startRig(t, { org: stub.origin, policies: { 'office.yaml': office.text, 'here.yaml': here.text }, host: '::1' })
  t.equal((await six.ask(request(LIST, here.key))).status, 200)
  t.equal((await six.ask(request(LIST, office.key, ['X-Forwarded-For: 10.1.2.3']))).status, 403)
  t.same((await six.events(2)).map(event => event['source']), ['::1', '::1'])
})

t.test('an expired policy is refused with its day', async t => {
  const { status, causes, event } = await walk(request(LIST, past.key))
  t.equal(status, 401)
  t.match(causes, /2020-01-01/)
  t.match(event, { reason: 'policy_expired', client: 'past', keyId: past.sha256.slice(0, 8) }, 'the event says whose it was')
})

t.test('a 403 names the operation, the rule and the condition', async t => {
  const cases: readonly (readonly [string, string, RegExp, string?])[] = [
    ['GET /api/v1/groups', 'no_rule', /client "app", operation listGroups \(GET \/api\/v1\/groups\).*no rule names/],
    ['DELETE /api/v1/users/00u1', 'deny', /deleteUser/],
    ['POST /api/v1/users/00u1/lifecycle/activate', 'query', /activate user.*sendEmail/],
    ['POST /api/v1/users/00u1/lifecycle/activate?sendEmail=true', 'query', /activate user.*sendEmail/],
    ['POST /api/v1/users/00u1/lifecycle/activate?sendEmail=false&x=1', 'query', /activate user/],
    ['POST /api/v1/users/00u1/lifecycle/activate?sendEmail=false&sendEmail=false', 'query', /activate user/],
    ['POST /api/v1/users/00u1/lifecycle/activate?sendEmail[]=false', 'query', /activate user/],
    [`GET /api/v1/users?undocumented=${planted('query')}`, 'query', /look around.*undocumented/],
    ['GET /api/v1/nothing/here', 'unknown_path', /^$/],
    ['GET /api/v1', 'unknown_path', /^$/]
  ]
  for (const [line, reason, cause] of cases) {
    const { status, event, causes, arrived } = await walk(request(line, app.key))
    t.equal(status, 403, line)
    t.equal(event['reason'], reason, line)
    t.match(causes, cause, line)
    t.equal(arrived, 0)
    t.equal(event['decision'], 'deny')
  }
  t.equal((await walk(request('POST /api/v1/users/00u1/lifecycle/activate?sendEmail=%66alse', app.key))).status, 200, 'a value is judged decoded')
  t.equal(stub.requests[0]?.target, '/api/v1/users/00u1/lifecycle/activate?sendEmail=%66alse', 'and sent as it came')
})

t.test('a known path by another method is 405 and says which it has', async t => {
  for (const method of ['HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'PATCH', 'QUERY', 'MKCOL', 'LOCK']) {
    stub.requests.length = 0
    const connection = await rig.open()
    connection.send(request(`${method} /api/v1/users/00u1`, app.key))
    const answer = await connection.answer(5000, method === 'HEAD')
    connection.destroy()
    const [event, ...more] = await rig.events(1)
    t.equal(answer?.status, 405, method)
    t.equal(answer?.header('allow')?.split(', ').sort().join(), 'DELETE,GET,POST,PUT', method)
    t.match(event, { method, reason: 'method_not_allowed', status: 405 })
    t.equal(more.length + stub.requests.length, 0)
    if (method !== 'HEAD') t.equal(answer?.error.errorCode, 'E0000022')
  }
  t.equal((await rig.ask(request('BREW /api/v1/users', app.key))).status, 400, 'a method that HTTP does not know')
  await rig.events(1)
  const unknown = await walk(request('OPTIONS /api/v1/nothing', app.key))
  t.equal(unknown.status, 403, 'an unknown path stays 403')
})

t.test('a body decides between the acts of one operation, and arrives byte for byte', async t => {
  const json = ['Content-Type: application/json']
  const secret = planted('body')
  const odd = '{ "profile" : {"login":"\\u0061@example.com" ,\t"email":"caf\u00e9"} }'
  const cases: readonly (readonly [string, string, string, number, string])[] = [
    ['its name', '/api/v1/users/00uallowed', '{"profile":{"login":"a@example.com"}}', 200, 'change user name'],
    ['with white space and escapes', '/api/v1/users/00uallowed', odd, 200, 'change user name'],
    ['a password', '/api/v1/users/00u2', `{"credentials":{"password":{"value":"${secret}"}}}`, 200, 'set password'],
    ['a recovery question', '/api/v1/users/00u2', '{"credentials":{"recovery_question":{"question":"q","answer":"a"}}}', 200, 'set recovery question'],
    ['the name of another', '/api/v1/users/00u2', '{"profile":{"login":"a@example.com"}}', 403, 'body'],
    ['two acts at once', '/api/v1/users/00uallowed', '{"profile":{"login":"x"},"credentials":{"password":{"value":"longenough"}}}', 403, 'body'],
    ['a short password', '/api/v1/users/00u2', '{"credentials":{"password":{"value":"short"}}}', 403, 'body'],
    ['something else beside it', '/api/v1/users/00uallowed', `{"profile":{"login":"x","other":"${planted('other')}"}}`, 403, 'body'],
    ['half a body', '/api/v1/users/00uallowed', `{"profile":{"login":"${secret}"`, 400, 'bad_body'],
    ['a key twice', '/api/v1/users/00uallowed', '{"profile":{"login":"a","login":"b"}}', 400, 'bad_body'],
    ['a key twice by escape', '/api/v1/users/00uallowed', '{"profile":{"login":"a","\\u006cogin":"b"}}', 400, 'bad_body'],
    ['NaN', '/api/v1/users/00uallowed', '{"profile":{"login":NaN}}', 400, 'bad_body'],
    ['a byte order mark', '/api/v1/users/00uallowed', '\ufeff{"profile":{"login":"a"}}', 400, 'bad_body']
  ]
  for (const [name, path, body, status, expected] of cases) {
    const bytes = Buffer.from(body)
    const found = await walk(request(`POST ${path}`, app.key, [...json, `Content-Length: ${bytes.length}`]) + bytes.toString('latin1'))
    t.equal(found.status, status, name)
    t.equal(status === 200 ? found.event['rule'] : found.event['reason'], expected, name)
    t.equal(found.arrived, status === 200 ? 1 : 0, name)
    if (status === 200) t.same(stub.requests[0]?.body, bytes, `${name}: the judged bytes are the sent ones`)
  }
  const types: readonly (readonly [string, readonly string[], number])[] = [
    ['text/plain', ['Content-Type: text/plain'], 415],
    ['another charset', ['Content-Type: application/json; charset=utf-16'], 415],
    ['utf-8 named', ['Content-Type: application/json; charset=UTF-8'], 200],
    ['gzip', ['Content-Type: application/json', 'Content-Encoding: gzip'], 415],
    ['a broken type', ['Content-Type: json'], 415],
    ['a tab in it', ['Content-Type: application/json\t; charset=utf-16'], 400]
  ]
  for (const [name, headers, status] of types) {
    const found = await walk(request('POST /api/v1/users/00uallowed', app.key, headers, '{"profile":{"login":"a"}}'))
    t.equal(found.status, status, name)
    t.equal(found.arrived, status === 200 ? 1 : 0, name)
  }
  const invalid = await walk(request('POST /api/v1/users/00uallowed', app.key, json, '{"profile":{"login":"\xff"}}').replace(/Content-Length: \d+/, 'Content-Length: 25'))
  t.equal(invalid.status, 400, 'invalid UTF-8')
})

t.test('a body beyond the limit is 413, whatever announces it', async t => {
  const big = `{"x":"${'y'.repeat(3000)}"}`
  t.equal((await walk(request('POST /api/v1/users', app.key, ['Content-Type: application/json'], big))).status, 413)
  const chunked = `${request('POST /api/v1/users', app.key, ['Content-Type: application/json', 'Transfer-Encoding: chunked'])}${big.length.toString(16)}\r\n${big}\r\n0\r\n\r\n`
  const second = await walk(chunked)
  t.equal(second.status, 413, 'chunked')
  t.equal(second.arrived, 0)
  const announced = await walk(request('POST /api/v1/users', app.key, ['Content-Type: application/json', 'Content-Length: 99999999']))
  t.equal(announced.status, 413, 'announced only')
  const exactly = `{"x":"${'y'.repeat(2040)}"}`
  t.equal((await walk(request('POST /api/v1/users', app.key, ['Content-Type: application/json'], exactly))).status, 200, 'exactly the limit')
})

t.test('odd media types on calls that no body rule judges go through as they are', async t => {
  for (const type of ['json', 'application/json; charset', 'multipart/form-data', 'text/plain;', '"', 'a/b/c', '']) {
    const { status } = await walk(request('POST /api/v1/users', app.key, [`Content-Type: ${type}`], '{"a":1}'))
    t.equal(status, 200, JSON.stringify(type))
    t.equal(stub.requests[0]?.body.toString(), '{"a":1}', JSON.stringify(type))
  }
})

t.test('guessing keys is slowed down, and a valid key passes all the while', async t => {
  const statuses = []
  for (let i = 0; i < 32; i++) statuses.push((await walk(request(LIST, newKey(randomBytes).key, ['X-Forwarded-For: 192.0.2.99']))).status)
  t.equal(statuses.at(0), 401)
  t.equal(statuses.at(-1), 429)
  t.equal((await walk(request(LIST, app.key, ['X-Forwarded-For: 192.0.2.99']))).status, 200)
})

t.test('an upstream that fails is told from a refusal, and its words stay inside', async t => {
  const words = planted('upstream')
  const usual = stub.answer
  stub.answer = (_, socket) => { socket.end(`${words}\r\n\r\n`) }
  t.match((await walk(request(LIST, app.key))).event, { reason: 'upstream_failed', outcome: 'failed', status: 502 })
  t.match((await walk(request('POST /api/v1/users', app.key, ['Content-Type: application/json'], '{}'))).event, { reason: 'upstream_uncertain', status: 502 })
  stub.answer = usual
})

t.test('malformed requests leave no secret either', async t => {
  const lines = [
    `GET /api/v1/users/..?q=${planted('bad')} HTTP/1.1\r\nHost: gate\r\nAuthorization: SSWS ${app.key}\r\n\r\n`,
    `GET http://user:${planted('userinfo')}@okta/api/v1/users HTTP/1.1\r\nHost: gate\r\n\r\n`,
    `GET /api/v1/users%3ftoken=${planted('encoded')} HTTP/1.1\r\nHost: gate\r\n\r\n`,
    `GET /api/v1/users;sid=${planted('matrix')} HTTP/1.1\r\nHost: gate\r\n\r\n`,
    `GET /api/v1/users HTTP/1.1\r\nHost: gate\r\nX_${planted('name')}: ${planted('value')}\r\n\r\n`,
    `GET /api/v1/users HTTP/1.1\r\nHost: gate\r\nAuthorization: SSWS ${app.key}\r\nAuthorization: SSWS ${second.key}\r\n\r\n`,
    `GET /api/v1/users HTTP/1.1\r\nHost: gate\r\nCookie: sid=${planted('cookie')}\r\n${planted('line')}\r\n\r\n`,
    `CONNECT ${planted('connect')}:x@okta.com:443 HTTP/1.1\r\nHost: okta\r\nAuthorization: SSWS ${app.key}\r\n\r\n`.replace('PLANTED', 'u:PLANTED'),
    `POST /api/v1/users HTTP/1.1\r\nHost: gate\r\nAuthorization: SSWS ${app.key}\r\nTransfer-Encoding: chunked\r\n\r\n${planted('chunk')}\r\n`,
    `${planted('method')} / HTTP/1.1\r\n\r\n`
  ]
  for (const line of lines) t.match(String((await walk(line)).status), /^4/, line.slice(0, 50))
})

t.test('nothing secret stands in any log line, audit event, metric or answer', async t => {
  const metrics = (await rig.admin('/metrics')).text
  const ready = (await rig.admin('/readyz')).text
  const audit = rig.auditText()
  const places = { audit, log: rig.log(), metrics, ready, answers: everyAnswer.join('\n') }
  for (const [name, text] of Object.entries(places)) {
    t.ok(text.length > 0, `${name} is there`)
    t.same(secrets.filter(secret => text.includes(secret)).map(secret => secret.slice(0, 20)), [], name)
    t.notOk(/ngk_[0-9A-Za-z]{20}/.test(text), `${name}: no key`)
  }
  t.ok(secrets.length > 20, `${secrets.length} secrets looked for`)
  const fields = new Set(audit.trimEnd().split('\n').flatMap(line => Object.keys(JSON.parse(line) as object)))
  t.same(['body', 'headers', 'query', 'authorization'].filter(name => fields.has(name)), [])
  t.match(metrics, /narrowgate_requests_total\{client="app",operation="listUsers",decision="allowed",reason=""\} \d+/)
  t.match(metrics, /narrowgate_requests_total\{client="app",operation="deleteUser",decision="refused",reason="deny"\} 1\n/)
  t.match(metrics, /narrowgate_gate_seconds_count [1-9]/)
})

t.test('a client key goes nowhere but into Authorization', async t => {
  const before = stub.requests.length
  const post = (body: string): string => request('POST /api/v1/users', app.key, ['Content-Type: application/json'], body)
  const hidden = `%6e${app.key.slice(1)}`
  const asked: readonly (readonly [string, string])[] = [
    [request(`GET /api/v1/users?q=${app.key}`, app.key), 'bad_target'], [request(`GET /api/v1/users?q=${hidden}`, app.key), 'bad_target'], [request(`GET /api/v1/users/${second.key}`, app.key), 'bad_target'],
    [request('GET /api/v1/users', app.key, [`User-Agent: x/${app.key}`]), 'bad_header'], [post(`{"profile":{"login":"${app.key}"}}`), 'bad_body']
  ]
  await rig.events(0)
  for (const [bytes, reason] of asked) {
    const answer = await rig.ask(bytes)
    t.match(answer.error.errorCauses, [{ errorSummary: /in Authorization alone/ }], reason)
    t.match(await rig.events(1), [{ reason, client: 'app' }], reason)
  }
  t.equal(stub.requests.length, before, 'nothing of it arrives')
  t.equal((await rig.ask(post('{"profile":{"login":"ngk_short"}}'))).status, 200, 'what is no key passes')
  await rig.events(1)
})

t.test('the admin listener on this machine is no web page\'s to read', async t => {
  const { port } = new URL(rig.adminUrl)
  const asked = async (host: string): Promise<number | undefined> => {
    const connection = await RawClient.connect(Number(port))
    connection.send(`GET /metrics HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    const answer = await connection.answer()
    connection.destroy()
    return answer?.status
  }
  for (const host of ['127.0.0.1', `127.0.0.1:${port}`, `localhost:${port}`, 'LOCALHOST', '[::1]:9', 'gate.localhost']) t.equal(await asked(host), 200, host)
  for (const host of ['evil.example', `evil.example:${port}`, 'localhost.evil.example', '127.0.0.1.evil.example', '127.0.0.1@evil.example', 'evil-localhost', '']) t.equal(await asked(host), 421, host)
})

t.test('every refusal of the catalogue has Okta\'s shape', async t => {
  for (const [code, { status, errorCode }] of Object.entries(rejections)) t.ok(status >= 400 && /^E0000\d{3}$/.test(errorCode), code)
})
