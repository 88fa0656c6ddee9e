import { once } from 'node:events'
import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { createUpstreamPool } from '../../src/upstream/agent.js'
import type { CredentialProvider } from '../../src/upstream/credential.js'
import { CredentialFault } from '../../src/upstream/credential.js'
import type { FailureCode } from '../../src/upstream/failure.js'
import { apiToken, ask, gate, later, rawClient, rawUpstream, TOKEN, until } from './harness.js'

const org = (upstream: { port: number }): string => `http://127.0.0.1:${upstream.port}`
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

t.test('a call arrives byte for byte, with the credential last and one exact length', async t => {
  const upstream = await rawUpstream(t, socket => socket.write(OK))
  const { port, results } = await gate(t, { org: org(upstream) })
  const path = '/api/v1/users/a%40b.c?filter=x%20eq+%22y%22&q='
  await ask(port, { method: 'POST', path, body: '{"a": 1}', headers: { 'content-type': 'application/json', accept: 'a/b', cookie: 'sid=1', authorization: 'SSWS client', 'x-forwarded-for': '1.2.3.4' } })
  t.equal(Buffer.concat(upstream.received).toString(), `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1:${upstream.port}\r\nconnection: keep-alive\r\n` +
    `content-type: application/json\r\naccept: a/b\r\nauthorization: SSWS ${TOKEN}\r\ncontent-length: 8\r\n\r\n{"a": 1}`)
  t.match(results[0], { kind: 'answered', truncated: false, status: 200, sent: true, resent: false, bytesOut: 2, generation: 1 })
  for (const method of ['POST', 'PUT', 'PATCH']) {
    upstream.received.length = 0
    await ask(port, { method, headers: { 'content-length': '0', 'content-type': 'application/json' } })
    t.equal(Buffer.concat(upstream.received).toString().match(/content-length: 0\r\n/g)?.length, 1, `${method} without a body says so`)
  }
  upstream.received.length = 0
  await ask(port, { method: 'DELETE', body: 'x' })
  t.match(Buffer.concat(upstream.received).toString(), /^DELETE [^]*content-length: 1\r\n\r\nx$/)
})

t.test('the answer arrives line by line: Links apart, cookies gone, reason, case and length kept', async t => {
  const lines = ['Date: Thu, 11 Sep 2025 15:51:21 GMT', 'link: <http://okta/1>; rel="self"', 'link: <http://okta/2>; rel="next"', 'X-Rate-Limit-Limit: 600', 'X-Okta-Request-Id: abc', 'Content-Length: 2']
  const upstream = await rawUpstream(t, socket => socket.write(`HTTP/1.1 200 Fine by me\r\nSet-Cookie: sid=1\r\nTrailer: X\r\nAlt-Svc: h2\r\n${lines.join('\r\n')}\r\n\r\nok`))
  const { port, heads, results } = await gate(t, { org: org(upstream) })
  const client = await rawClient(port, 'GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  const [bytes] = await once(client, 'data') as [Buffer]
  t.equal(bytes.toString(), `HTTP/1.1 200 Fine by me\r\n${lines.join('\r\n').replaceAll('okta/', 'gate/')}\r\nConnection: close\r\n\r\nok`, 'head and body in one piece')
  t.match(heads[0], { status: 200, rate: { limit: '600' }, date: /^Thu/, oktaRequestId: 'abc' })
  t.match(results[0], { oktaRequestId: 'abc', upstreamMs: Number })
})

t.test('answers without a body, with chunks, to the end of the connection and of every status pass', async t => {
  const answers: [string, number, string][] = [
    ['HTTP/1.1 204 No Content\r\n\r\n', 204, ''],
    ['HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: "1"\r\n\r\n', 304, ''],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-Trailer: 1\r\n\r\n', 200, 'abc'],
    ['HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer scope="okta.users.read"\r\n\r\n', 403, ''],
    ['HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n', 302, ''],
    ['HTTP/1.1 503 Later\r\nContent-Length: 1\r\nRetry-After: 0\r\n\r\n!', 503, '!'],
    ['HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n', 429, '']
  ]
  const upstream = await rawUpstream(t, (socket, _head, count) => socket.write(answers[count - 1]![0]))
  const { port, results } = await gate(t, { org: org(upstream) })
  for (const [, status, body] of answers) {
    const answer = await ask(port)
    t.match(answer, { status, whole: true })
    t.equal(answer.body.toString(), body)
  }
  t.ok(results.every(result => result.kind === 'answered' && !result.truncated))
  t.equal(upstream.requests, answers.length, 'one 503, one 429, one redirect: one upstream call each')
})

t.test('upstream faults before the answer bring a 502 of ours and are never repeated', async t => {
  const faults: [string, (socket: Socket) => void, FailureCode][] = [
    ['reset at once', socket => socket.resetAndDestroy(), 'reset'],
    ['close at once', socket => socket.end(), 'reset'],
    ['close in mid-header', socket => socket.end('HTTP/1.1 200 OK\r\nContent-Le'), 'reset'],
    ['silence', () => {}, 'timeout'],
    ['not HTTP', socket => socket.end('SSH-2.0-x\r\n\r\n'), 'bad_response'],
    ['HTTP/0.9', socket => socket.end('<html>'), 'bad_response'],
    ['status 888', socket => socket.write('HTTP/1.1 888 Odd\r\nContent-Length: 0\r\n\r\n'), 'bad_response'],
    ['status 099', socket => socket.write('HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n'), 'bad_response'],
    ['switching protocols', socket => socket.write('HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'), 'bad_response'],
    ['length and chunked', socket => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'), 'bad_response'],
    ['two lengths', socket => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'), 'bad_response'],
    ['huge headers', socket => socket.write(`HTTP/1.1 200 OK\r\nX-Big: ${'x'.repeat(40_000)}\r\n\r\n`), 'bad_response'],
    ['a NUL in a header', socket => socket.write('HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n'), 'bad_response'],
    ['a storm of 1xx', socket => socket.write('HTTP/1.1 102 Wait\r\n\r\n'.repeat(40) + OK), 'bad_response'],
    ['no byte of the body', socket => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'), 'reset'],
    ['a chunk size that is none', socket => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'), 'bad_response']
  ]
  await Promise.all(faults.map(async ([name, play, code]) => {
    const upstream = await rawUpstream(t, play)
    const { port, results } = await gate(t, { org: org(upstream) })
    const answer = await ask(port, { method: 'POST', body: 'x' })
    t.match(answer, { status: 502, whole: true }, name)
    t.equal(answer.body.toString(), 'refused by the gate', name)
    t.match(results, [{ kind: 'failed', failure: { code }, sent: true, resent: false, mayHaveHappened: true }], name)
    t.equal(upstream.requests, 1, `${name}: sent once`)
  }))
})

t.test('1xx answers one by one do not stretch the time to the headers', async t => {
  const upstream = await rawUpstream(t, socket => {
    let left = 12
    const timer = setInterval(() => { if (left-- > 0) socket.write('HTTP/1.1 102 Wait\r\n\r\n'); else clearInterval(timer) }, 200)
    socket.on('close', () => { clearInterval(timer) })
  })
  const { port, results } = await gate(t, { org: org(upstream) })
  const before = performance.now()
  await ask(port)
  t.ok(performance.now() - before < 1800)
  t.match(results, [{ kind: 'failed', failure: { code: 'timeout' }, mayHaveHappened: false }])
})

t.test('a body that breaks off never looks whole to the client', async t => {
  const faults: [string, (socket: Socket) => void][] = [
    ['short body', socket => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\npart')],
    ['reset in the body', socket => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\npart'); setTimeout(() => socket.resetAndDestroy(), 50) }],
    ['no last chunk', socket => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n')],
    ['broken chunk', socket => { socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'); setTimeout(() => socket.write('zz\r\n'), 50) }],
    ['reset where the end of the connection is the end of the body', socket => { socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart'); setTimeout(() => socket.resetAndDestroy(), 50) }],
    ['silence in the body', socket => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\npart') }]
  ]
  await Promise.all(faults.map(async ([name, play]) => {
    const upstream = await rawUpstream(t, play)
    const { port, results } = await gate(t, { org: org(upstream) })
    const answer = await ask(port).catch(() => ({ whole: false }))
    t.equal(answer.whole, false, name)
    t.match(results, [{ kind: 'answered', status: 200, truncated: true }], name)
    const old = await rawClient(port, 'GET /a HTTP/1.0\r\n\r\n')
    const [error] = await Promise.race([once(old.resume(), 'error'), once(old, 'end').then(() => ['a clean end'])]).catch(cause => [cause])
    t.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET', `${name}, HTTP/1.0`)
  }))
})

t.test('a reset of a paused answer does not take the process down', async t => {
  const upstream = await rawUpstream(t, socket => {
    socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${'a'.repeat(30_000)}`)
    setTimeout(() => socket.resetAndDestroy(), 50)
  })
  const pool = createUpstreamPool({ org: org(upstream), connections: 1, connectMs: 500, headersMs: 500, idleMs: 500 })
  t.teardown(() => pool.destroy())
  const end = await new Promise(resolve => {
    pool.dispatch({ path: '/', method: 'GET', headers: [] }, {
      onConnect () {},
      onHeaders: () => true,
      onData: () => false,
      onComplete () { resolve('complete') },
      onError: resolve
    })
  })
  t.match(end, { code: 'UND_ERR_SOCKET' })
})

t.test('extra bytes after an answer are dropped with their connection', async t => {
  const upstream = await rawUpstream(t, socket => socket.write(OK + 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'))
  const { port } = await gate(t, { org: org(upstream), pool: { connections: 1 } })
  for (let i = 0; i < 3; i++) t.equal((await ask(port)).body.toString(), 'ok')
  t.equal(upstream.connections, 3)
})

t.test('a call of which no byte was written is sent once more, and only once', async t => {
  const { port, results } = await gate(t, { org: 'http://127.0.0.1:9' })
  await ask(port, { method: 'POST', body: 'x' })
  t.match(results, [{ kind: 'failed', failure: { code: 'unreachable', cause: 'ECONNREFUSED' }, sent: false, resent: true, mayHaveHappened: false }])

  const upstream = await rawUpstream(t, (socket, _head, count) => { socket.write(OK); if (count < 30) setTimeout(() => socket.destroy(), count % 3) })
  const racing = await gate(t, { org: org(upstream), pool: { connections: 1 } })
  for (let i = 0; i < 30; i++) {
    await ask(racing.port, { method: 'POST', body: 'x' })
    await later(i % 4)
  }
  const made = racing.results.filter(result => result.sent).length
  t.equal(upstream.requests <= made, true, 'no POST arrived twice on connections that close after each answer')
})

t.test('names that do not resolve and ports that hang answer in time', async t => {
  const unknown = await gate(t, { org: 'https://no-such-host.invalid' })
  await ask(unknown.port)
  t.match(unknown.results, [{ kind: 'failed', failure: { code: 'unreachable' }, sent: false }])
  const mute = await rawUpstream(t, () => {})
  const hanging = await gate(t, { org: `https://127.0.0.1:${mute.port}` })
  const before = performance.now()
  await ask(hanging.port)
  t.ok(performance.now() - before < 1500)
  t.match(hanging.results, [{ kind: 'failed', failure: { code: 'unreachable' }, sent: false, resent: false }])
})

t.test('a client that hangs up ends a GET; a write that was sent is awaited', async t => {
  const upstream = await rawUpstream(t, (socket, head) => { if (head.startsWith('POST')) setTimeout(() => socket.write('HTTP/1.1 201 Created\r\nX-Okta-Request-Id: late\r\nContent-Length: 9\r\n\r\nabc'), 200) })
  const { port, next, heads } = await gate(t, { org: org(upstream) })
  let result = next()
  const reader = await rawClient(port, 'GET /a HTTP/1.1\r\nHost: x\r\n\r\n')
  t.ok(await until(() => upstream.requests === 1))
  reader.destroy()
  t.match(await result, { kind: 'aborted', sent: true, status: undefined })
  t.ok(await until(() => upstream.closed === 1), 'the upstream connection is closed')

  result = next()
  const writer = await rawClient(port, 'POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx')
  t.ok(await until(() => upstream.requests === 2))
  writer.destroy()
  t.match(await result, { kind: 'aborted', sent: true, status: 201, oktaRequestId: 'late' })
  t.equal(heads.length, 1, 'the limiter learned from it')
  t.ok(await until(() => upstream.closed === 2), 'the rest of the body is not awaited')
})

t.test('a client that leaves while its call waits for a connection costs no call', async t => {
  const upstream = await rawUpstream(t, socket => { setTimeout(() => socket.write(OK), 300) })
  const { port, results } = await gate(t, { org: org(upstream), pool: { connections: 1 } })
  const first = ask(port)
  t.ok(await until(() => upstream.requests === 1))
  const waiting = await rawClient(port, 'POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx')
  await later(50)
  waiting.destroy()
  t.ok(await until(() => results.length === 1))
  t.match(results, [{ kind: 'aborted', sent: false }])
  await first
  await ask(port)
  t.equal(upstream.requests, 2)
})

t.test('a stalled reader of 20 MB costs little memory and is cut off; a slow one gets it all', async t => {
  const size = 20_000_000
  const body = Buffer.alloc(size, 120)
  const upstream = await rawUpstream(t, socket => { socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`); socket.write(body) })
  const { port, next, results } = await gate(t, { org: org(upstream) })
  const before = process.memoryUsage().rss
  const stalled = Array.from({ length: 5 }, next)
  const clients = await Promise.all(stalled.map(() => rawClient(port, 'GET /a HTTP/1.1\r\nHost: x\r\n\r\n')))
  for (const client of clients) client.pause()
  await later(300)
  t.ok(process.memoryUsage().rss - before < 48_000_000, 'five stalled readers of 100 MB')
  t.ok((await Promise.all(stalled)).every(result => result.kind === 'aborted' && result.bytesOut < 12_000_000))
  t.ok(await until(() => upstream.closed === 5))

  const slow = await rawClient(port, 'GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  let received = 0
  slow.on('data', chunk => {
    received += chunk.length
    if (received % 7 === 0) { slow.pause(); setTimeout(() => slow.resume(), 20) }
  })
  await once(slow, 'close')
  t.ok(received > size)
  t.match(results.at(-1), { kind: 'answered', truncated: false, bytesOut: size })
})

t.test('an answer that takes too long in all is ended', async t => {
  const upstream = await rawUpstream(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    const timer = setInterval(() => { socket.write('1\r\nx\r\n') }, 40)
    socket.on('close', () => { clearInterval(timer) })
  })
  const { port, results } = await gate(t, { org: org(upstream), call: { timeouts: { connectMs: 500, headersMs: 500, idleMs: 500, totalMs: 300 } } })
  t.match(await ask(port), { whole: false })
  t.match(results, [{ kind: 'answered', truncated: true, failure: { code: 'timeout' } }])
})

t.test('a 401 about the credential is held back, every other passes byte for byte', async t => {
  const about = (code: string): string => `{"errorCode":"${code}","errorSummary":"x"}`
  let body = Buffer.alloc(0)
  let encoding = ''
  const upstream = await rawUpstream(t, socket => {
    socket.write(`HTTP/1.1 401 Unauthorized\r\n${encoding}Content-Length: ${body.length}\r\nContent-Type: application/json\r\n\r\n`)
    socket.write(body)
  })
  const trusted = await gate(t, { org: org(upstream) })
  const anonymous = await gate(t, { org: org(upstream), credential: 'none' })
  for (const pack of [false, true]) {
    encoding = pack ? 'Content-Encoding: gzip\r\n' : ''
    for (const code of ['E0000011', 'E0000004', 'E0000015']) {
      body = pack ? gzipSync(about(code)) : Buffer.from(about(code))
      const answer = await ask(trusted.port)
      t.equal(answer.status, code === 'E0000011' ? 502 : 401, code)
      if (code !== 'E0000011') t.same(answer.body, body)
      t.same((await ask(anonymous.port)).body, body, `${code}, no credential sent`)
    }
  }
  t.match(trusted.results[0], { kind: 'credential_refused', generation: 1, status: 401 })
  t.ok(anonymous.results.every(result => result.kind === 'answered'))
  t.notMatch(Buffer.concat(upstream.received).toString().split('GET ').filter((_, i) => i % 2 === 0).join(), /authorization/, 'anonymous calls carry none')
  encoding = 'Content-Encoding: gzip\r\n'
  for (body of [Buffer.from('not gzip'), gzipSync(Buffer.alloc(5_000_000, 32)), Buffer.alloc(100_000, 120)]) {
    t.same((await ask(trusted.port)).body, body, `${body.length} bytes that can't be read pass`)
  }
  encoding = 'Content-Encoding: zstd\r\n'
  body = Buffer.from('who knows')
  t.equal((await ask(trusted.port)).status, 401, 'an encoding that is not known may hide a code of Okta\'s')
  encoding = ''
  for (body of [Buffer.alloc(0), Buffer.from('<html>Unauthorized</html>'), Buffer.from('{}'), Buffer.from('{"message":"no code"}'), Buffer.from('{"error":"invalid_token"}')]) {
    t.equal((await ask(trusted.port)).status, 502, `a 401 without a code of Okta's is about the credential: ${body.toString()}`)
    t.equal((await ask(anonymous.port)).status, 401, 'an anonymous call\'s is not')
  }
  encoding = 'WWW-Authenticate: Bearer error="invalid_token"\r\n'
  body = Buffer.from(about('E0000004'))
  t.equal((await ask(trusted.port)).status, 502, 'a challenge says it, too')
})

t.test('JSON answers are rewritten where asked, with a new length; others and large ones pass', async t => {
  let answer = ''
  const upstream = await rawUpstream(t, socket => socket.write(answer))
  const { port } = await gate(t, {
    org: org(upstream),
    credential: 'none',
    call: { rewriteBody: body => body.includes('throw') ? (() => { throw new Error('x') })() : body.includes('okta') ? Buffer.from(body.toString().replace('okta', 'narrowgate')) : undefined }
  })
  const cases: [string, string, string][] = [
    ['application/json;charset=UTF-8', '{"href":"okta"}', '{"href":"narrowgate"}'],
    ['application/hal+json', '{"href":"okta"}', '{"href":"narrowgate"}'],
    ['application/json', '{ "a" : 1 }', '{ "a" : 1 }'],
    ['application/json', 'throw okta', 'throw okta'],
    ['text/html', 'okta', 'okta'],
    ['application/json', `okta${' '.repeat(1_100_000)}`, `okta${' '.repeat(1_100_000)}`]
  ]
  for (const [type, body, expected] of cases) {
    for (const framing of [`Content-Length: ${body.length}\r\n\r\n${body}`, `Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`]) {
      answer = `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\n${framing}`
      const got = await ask(port)
      t.ok(got.whole)
      t.ok(got.body.toString() === expected, `${type} ${body.slice(0, 20)}`)
      if (got.headers['content-length'] !== undefined) t.equal(got.headers['content-length'], String(expected.length))
    }
  }
  answer = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nokta'
  t.equal((await ask(port)).body.toString(), 'okta', 'what is compressed is not looked at')
})

t.test('a missing credential fails the call before it is sent; one that is awaited is sent', async t => {
  const upstream = await rawUpstream(t, socket => socket.write(OK))
  const stub = (get: CredentialProvider['get']): CredentialProvider => ({ get, invalidate: () => false, status: () => ({ kind: 'serviceApp', available: false }), close: () => {} })
  const missing = await gate(t, { org: org(upstream), credential: 'authnToken' })
  await ask(missing.port)
  t.match(missing.results, [{ kind: 'failed', failure: { code: 'credential', cause: 'NOT_CONFIGURED' }, sent: false, credential: { reason: 'not_configured' } }])
  const failing = await gate(t, { org: org(upstream), credentials: { upstream: stub(async () => { await later(20); return new CredentialFault('token_unreachable') }) } })
  await ask(failing.port)
  t.match(failing.results, [{ kind: 'failed', failure: { code: 'credential' }, sent: false }])
  t.equal(upstream.requests, 0)

  const { upstream: provider } = apiToken()
  const slow = await gate(t, { org: org(upstream), credentials: { upstream: stub(async () => { await later(150); return provider.get() }) } })
  const leaving = await rawClient(slow.port, 'GET /a HTTP/1.1\r\nHost: x\r\n\r\n')
  await later(50)
  leaving.destroy()
  await ask(slow.port)
  t.match(slow.results, [{ kind: 'aborted', sent: false }, { kind: 'answered' }])
  t.equal(upstream.requests, 1)
})
