import t from 'tap'
import { client, later, request, startRig, startStub, until } from '../support/gate.js'

const app = client('app', `allow:
  - operation: listUsers
  - operation: getUser
  - operation: createUser
  - operation: deleteUser
  - operation: suspendUser
`)
const stub = await startStub(t)
const rig = await startRig(t, { org: stub.origin, policies: { 'app.yaml': app.text } })
const KEY = `Authorization: SSWS ${app.key}`
const GET = `GET /api/v1/users HTTP/1.1\r\nHost: gate\r\n${KEY}\r\n`
const POST = `POST /api/v1/users HTTP/1.1\r\nHost: gate\r\n${KEY}\r\nContent-Type: application/json\r\n`
/** What a smuggler wants to see arrive behind the request that was judged. */
const SMUGGLED = `DELETE /api/v1/users/smuggled HTTP/1.1\r\nHost: gate\r\n${KEY}\r\nContent-Length: 0\r\n\r\n`
const many = (count: number): string => Array.from({ length: count }, (_, i) => `X-Filler-${i}: y\r\n`).join('')

/** Name, bytes, the status that it has to be refused with. */
const REFUSED: readonly (readonly [string, string, number])[] = [
  // two readings of where the body ends
  ['Content-Length and Transfer-Encoding', `${POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ['Transfer-Encoding and Content-Length', `${POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n`, 400],
  ['Transfer-Encoding: gzip, chunked', `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 400],
  ['Transfer-Encoding: identity, chunked', `${POST}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n`, 400],
  ['Transfer-Encoding: , chunked', `${POST}Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n`, 400],
  ['Transfer-Encoding: chunked, identity', `${POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 400],
  ['Transfer-Encoding: identity', `${POST}Transfer-Encoding: identity\r\n\r\n`, 400],
  ['Transfer-Encoding: xchunked', `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 400],
  ['Transfer-Encoding: "chunked"', `${POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`, 400],
  ['Transfer-Encoding twice', `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ['Transfer-Encoding: with a vertical tab', `${POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`, 400],
  ['Transfer-Encoding : with a space before the colon', `${POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`, 400],
  ['two Content-Lengths that differ', `${POST}Content-Length: 4\r\nContent-Length: 5\r\n\r\n{}{}`, 400],
  ['two Content-Lengths that agree', `${POST}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}`, 400],
  ['Content-Length: 2, 2', `${POST}Content-Length: 2, 2\r\n\r\n{}`, 400],
  ['Content-Length: +2', `${POST}Content-Length: +2\r\n\r\n{}`, 400],
  ['Content-Length: -2', `${POST}Content-Length: -2\r\n\r\n{}`, 400],
  ['Content-Length: 0x2', `${POST}Content-Length: 0x2\r\n\r\n{}`, 400],
  ['Content-Length without a value', `${POST}Content-Length:\r\n\r\n${SMUGGLED}`, 400],
  ['Content-Length beyond 64 bits', `${POST}Content-Length: 18446744073709551618\r\n\r\n{}`, 400],
  ['a chunk size that is none', `${POST}Transfer-Encoding: chunked\r\n\r\nxyz\r\n`, 400],
  ['a chunk size with a sign', `${POST}Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n`, 400],
  ['a chunk longer than its size', `${POST}Transfer-Encoding: chunked\r\n\r\n2\r\n{}{}\r\n0\r\n\r\n`, 400],
  ['GET with a body', `${GET}Content-Length: 2\r\n\r\n{}`, 400],
  ['GET with a chunked body', `${GET}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  // two readings of who calls, where, or what
  ['two Hosts', `${GET}Host: other\r\n\r\n`, 400],
  ['no Host', `GET /api/v1/users HTTP/1.1\r\n${KEY}\r\n\r\n`, 400],
  ['two Authorizations', `${GET}Authorization: SSWS other\r\n\r\n`, 400],
  ['two Content-Types', `${POST}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}`, 400],
  ['an underscore in a name', `${GET}Content_Type: x\r\n\r\n`, 400],
  ['a dot in a name', `${GET}X.Real.Ip: 1\r\n\r\n`, 400],
  ['an empty name', `${GET}: x\r\n\r\n`, 400],
  ['a space in a name', `${GET}X Y: x\r\n\r\n`, 400],
  ['a folded line', `${GET}X-A: a\r\n b\r\n\r\n`, 400],
  ['NUL in a value', `${GET}X-A: a\0b\r\n\r\n`, 400],
  ['a bare CR in a value', `${GET}X-A: a\rX-B: b\r\n\r\n`, 400],
  ['bytes outside ASCII in a value', `${GET}X-A: \xe9\r\n\r\n`, 400],
  ['a colon-less line', `${GET}nonsense\r\n\r\n`, 400],
  ['Connection that names Content-Type', `${POST}Connection: content-type\r\nContent-Length: 2\r\n\r\n{}`, 400],
  ['Connection that names Content-Length', `${POST}Connection: close, Content-Length\r\nContent-Length: 2\r\n\r\n{}`, 400],
  ['101 headers', `${GET}${many(99)}\r\n`, 400],
  ['300 headers', `${GET}${many(300)}\r\n`, 400],
  ['headers of 20 kB', `${GET}X-Big: ${'y'.repeat(20_000)}\r\n\r\n`, 400],
  // other protocols
  ['ICE/1.0', `SOURCE /api/v1/users ICE/1.0\r\nHost: gate\r\n${KEY}\r\n\r\n`, 405],
  ['HTTP/2.0 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
  ['HTTP/0.9', 'GET /api/v1/users\r\n\r\n', 400],
  ['HTTP/1.2', `GET /api/v1/users HTTP/1.2\r\nHost: gate\r\n${KEY}\r\n\r\n`, 400],
  ['CONNECT', `CONNECT acme.okta.com:443 HTTP/1.1\r\nHost: acme.okta.com:443\r\n${KEY}\r\n\r\n`, 405],
  ['an upgrade to WebSocket', `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`, 400],
  ['an upgrade to h2c', `${GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n`, 400],
  ['an expectation that is none', `${POST}Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}`, 400],
  ['absolute form', `GET http://acme.okta.com/api/v1/users HTTP/1.1\r\nHost: acme.okta.com\r\n${KEY}\r\n\r\n`, 400],
  ['TLS on a plain port', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400]
]

t.test('each ambiguous request is refused once, recorded once, and nothing behind it is smuggled', async t => {
  for (const [name, bytes, status] of REFUSED) {
    stub.requests.length = 0
    const connection = await rig.open()
    connection.send(bytes)
    const answer = await connection.answer()
    t.equal(answer?.status, status, name)
    t.ok(answer?.error.errorId !== undefined && answer.error.errorId === answer.header('x-narrowgate-request-id'), `${name}: an answer in Okta's form`)
    const events = await rig.events(1)
    t.equal(events.length, 1, `${name}: one event`)
    t.equal(events[0]?.id, answer?.header('x-narrowgate-request-id'), `${name}: the same id`)
    t.same(stub.requests.map(({ line }) => line), [], `${name}: nothing arrives`)
    connection.destroy()
    await later(1)
    t.same((await rig.events(0)).map(event => event.detail ?? event.outcome), [], `${name}: none when it ends either`)
  }
})

t.test('what follows a request whose framing is refused is never read', async t => {
  for (const [name, bytes] of REFUSED.filter(([name]) => /Transfer-Encoding|Content-Length|chunk|body/.test(name))) {
    stub.requests.length = 0
    const connection = await rig.open()
    connection.send(bytes + SMUGGLED)
    await connection.answer()
    t.ok(await connection.ends(), `${name}: the connection is closed`)
    t.same(stub.requests.filter(({ line }) => line.includes('smuggled')), [], `${name}: nothing smuggled`)
  }
  t.same((await rig.events(1)).filter(event => String(event['path']).includes('smuggled')), [])
})

t.test('pipelined requests are judged one by one and answered in order', async t => {
  stub.requests.length = 0
  const connection = await rig.open()
  connection.send(request('GET /api/v1/users', app.key) + request('GET /api/v1/groups', app.key) + request('POST /api/v1/users', app.key, ['Content-Type: application/json'], '{"a":1}') +
    request('GET /api/v1/users/../x', app.key) + request('GET /api/v1/users/00u1', app.key))
  const statuses = []
  for (let i = 0; i < 5; i++) statuses.push((await connection.answer())?.status)
  t.same(statuses, [200, 403, 200, 400, 200])
  t.same(stub.requests.map(({ line }) => line).sort(), ['GET /api/v1/users HTTP/1.1', 'GET /api/v1/users/00u1 HTTP/1.1', 'POST /api/v1/users HTTP/1.1'])
  t.equal((await rig.events(5)).length, 5)
  connection.destroy()
})

t.test('identity belongs to a request, never to its connection', async t => {
  const connection = await rig.open()
  connection.send(request('GET /api/v1/users', app.key))
  t.equal((await connection.answer())?.status, 200)
  connection.send(request('GET /api/v1/users'))
  t.equal((await connection.answer())?.status, 401)
  await rig.events(2)
  connection.destroy()
})

t.test('garbage behind a request in flight ends the connection: its refusal is never taken for the answer', async t => {
  stub.requests.length = 0
  const answer = stub.answer
  stub.answer = (_, socket) => { setTimeout(() => { answer(_, socket) }, 150) }
  const connection = await rig.open()
  connection.send(request('GET /api/v1/users', app.key) + 'G@RBAGE\r\n\r\n')
  const got = await connection.answer()
  t.ok(got === undefined || got.status === 200, `${got?.status}`)
  t.ok(await connection.ends())
  stub.answer = answer
  const events = await rig.events(2)
  t.equal(events.length, 2, 'the request and the garbage')
})

t.test('a body that breaks off or stops being HTTP is one event', async t => {
  const cases: readonly (readonly [string, (send: (text: string) => void, end: () => void, kill: () => void) => Promise<void>, string?])[] = [
    ['half-closed in mid-body', async (send, end) => { send(`${POST}Content-Length: 10\r\n\r\n{`); await later(20); end() }, 'aborted'],
    ['killed in mid-body', async (send, _, kill) => { send(`${POST}Content-Length: 10\r\n\r\n{`); await later(20); kill() }, 'aborted'],
    ['a bad second chunk', async send => { send(`${POST}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n`); await later(20); send('zz\r\n') }, 'refused'],
    ['half-closed within a chunk', async (send, end) => { send(`${POST}Transfer-Encoding: chunked\r\n\r\n5\r\n{`); await later(20); end() }, 'aborted'],
    ['refused, then half-closed in mid-body', async (send, end) => { send(`${POST.replace('users', 'groups')}Content-Length: 10\r\n\r\n{`); await later(20); end() }]
  ]
  for (const [name, act, outcome = 'refused'] of cases) {
    stub.requests.length = 0
    const connection = await rig.open()
    await act(text => { connection.send(text) }, () => { connection.socket.end() }, () => { connection.destroy() })
    t.ok(await connection.ends(), `${name}: the connection ends`)
    const events = await rig.events(1)
    t.equal(events.length, 1, `${name}: one event (${events.map(event => `${event.outcome} ${String(event['reason'])}`).join(', ')})`)
    t.equal(events[0]?.outcome, outcome, name)
    t.equal(stub.requests.length, 0, `${name}: nothing was sent`)
    connection.destroy()
  }
})

t.test('what is no HTTP at all is not said to be about a body, and has its source', async t => {
  for (const bytes of [`get /api/v1/users HTTP/1.1\r\nHost: gate\r\n${KEY}\r\n\r\n`, `GET users HTTP/1.1\r\nHost: gate\r\n${KEY}\r\n\r\n`, `${GET}X Y: x\r\n\r\n`]) {
    t.equal((await rig.ask(bytes)).error.errorSummary, 'The request is malformed.', bytes.slice(0, 20))
    t.match(await rig.events(1), [{ reason: 'bad_request', source: '127.0.0.1' }])
  }
})

t.test('an upgrade through a trusted proxy is recorded with the address that it forwards', async t => {
  const behind = await startRig(t, { org: stub.origin, policies: { 'app.yaml': app.text }, listen: 'trustedProxies: [127.0.0.0/8]' })
  t.equal((await behind.ask(`${GET}X-Forwarded-For: 203.0.113.9\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`)).status, 400)
  t.match(await behind.events(1), [{ reason: 'bad_framing', source: '203.0.113.9' }])
})

t.test('HTTP/1.0 is answered and the connection closed; what node takes for it is judged alike', async t => {
  // llhttp reads RTSP/1.0 and tells nobody: it must at least not be another way in.
  for (const protocol of ['HTTP/1.0', 'RTSP/1.0']) {
    stub.requests.length = 0
    const connection = await rig.open()
    connection.send(`GET /api/v1/users ${protocol}\r\nHost: gate\r\n${KEY}\r\n\r\n`)
    t.equal((await connection.answer())?.status, 200, protocol)
    t.ok(await connection.ends(), `${protocol}: the end`)
    t.same(stub.requests.map(({ line }) => line), ['GET /api/v1/users HTTP/1.1'], `${protocol}: Okta sees HTTP/1.1`)
    t.equal((await rig.ask(`GET /api/v1/groups ${protocol}\r\nHost: gate\r\n${KEY}\r\n\r\n`)).status, 403, `${protocol}: the policy holds`)
  }
  t.equal((await rig.ask(`GET /api/v1/users HTTP/1.0\r\n${KEY}\r\n\r\n`)).status, 200, 'HTTP/1.0 knows no Host')
  await rig.events(5)
})

t.test('a hundred headers of which none is forwarded pass', async t => {
  stub.requests.length = 0
  t.equal((await rig.ask(`${GET}${many(98)}\r\n`)).status, 200)
  t.notOk(stub.requests[0]?.headers.some(([name]) => /filler/i.test(name)))
  await rig.events(1)
})

t.test('a connection that says nothing costs no event', async t => {
  const connection = await rig.open()
  connection.destroy()
  const half = await rig.open()
  half.send('GET /api/v1/us')
  await later(20)
  half.destroy()
  await until(() => false, 50)
  t.same((await rig.events(0)).filter(event => event.outcome !== 'refused'), [])
})
