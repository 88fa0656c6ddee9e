import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { connect as connectTcp, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import t from 'tap'
import { Secret } from '../../src/domain/secret.js'
import { checkOrigin, createUpstreamPool } from '../../src/upstream/agent.js'
import { Breaker } from '../../src/upstream/breaker.js'
import { nameFailure } from '../../src/upstream/failure.js'
import { makeCertificate } from './certificates.js'
import { apiToken, ask, gate, rawUpstream } from './harness.js'

const authority = makeCertificate({ commonName: 'test authority', authority: true })
const good = makeCertificate({ commonName: 'okta', names: ['localhost', '127.0.0.1'], issuer: authority })
const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

t.test('an upstream whose certificate is trusted is used', async t => {
  const upstream = await rawUpstream(t, socket => socket.write(answer), good)
  for (const host of ['localhost', '127.0.0.1']) {
    const { port } = await gate(t, { org: `https://${host}:${upstream.port}`, pool: { ca: [authority.cert] } })
    for (let i = 0; i < 3; i++) t.match(await ask(port), { status: 200 }, host)
  }
})

t.test('an upstream that can not be verified gets not one byte of a request', async t => {
  const selfSigned = makeCertificate({ commonName: 'okta', names: ['127.0.0.1'] })
  const expired = makeCertificate({ commonName: 'okta', names: ['127.0.0.1'], issuer: authority, notAfter: new Date('2021-01-01') })
  const elsewhere = makeCertificate({ commonName: 'okta', names: ['other.example'], issuer: authority })
  const cases = {
    'self-signed': { cert: selfSigned.cert, key: selfSigned.key },
    'of an unknown authority': { cert: good.cert, key: good.key, unknown: true },
    expired: { cert: expired.cert, key: expired.key },
    'for another name': { cert: elsewhere.cert, key: elsewhere.key },
    'TLS 1.1': { cert: good.cert, key: good.key, minVersion: 'TLSv1' as const, maxVersion: 'TLSv1.1' as const, ciphers: 'DEFAULT@SECLEVEL=0' }
  }
  const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
  t.teardown(() => { if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED; else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before })
  for (const [name, options] of Object.entries(cases)) {
    const upstream = await rawUpstream(t, socket => socket.write(answer), options)
    const { port, results } = await gate(t, { org: `https://127.0.0.1:${upstream.port}`, credentials: apiToken('00CANARY'), pool: { ca: 'unknown' in options ? undefined : [authority.cert] } })
    t.match(await ask(port, { method: 'POST', body: 'x' }), { status: 502 }, name)
    t.match(results, [{ kind: 'failed', failure: { code: 'tls' }, sent: false, resent: false, mayHaveHappened: false }], name)
    t.equal(Buffer.concat(upstream.received).length, 0, `${name}: no byte`)
  }
})

t.test('an org that is not a safe origin is refused', async t => {
  for (const org of ['http://acme.okta.com', 'http://127.0.0.1.example.com', 'http://10.0.0.1', 'ftp://127.0.0.1', 'https://acme.okta.com/x', 'https://u:p@acme.okta.com', 'https://acme.okta.com?x', 'acme.okta.com', '']) {
    t.throws(() => createUpstreamPool({ org, connections: 1, connectMs: 1, headersMs: 1, idleMs: 1 }), TypeError, org)
  }
  for (const [org, origin] of [['https://Acme.okta.com/', 'https://acme.okta.com'], ['http://127.0.0.1:80', 'http://127.0.0.1'], ['http://[::1]:9', 'http://[::1]:9'], ['http://localhost:1', 'http://localhost:1']]) t.equal(checkOrigin(org!), origin)
  t.throws(() => createUpstreamPool({ org: 'https://acme.okta.com', ca: ['no PEM'], connections: 1, connectMs: 1, headersMs: 1, idleMs: 1 }))
})

t.test('when a name no longer resolves, its last good address is used', async t => {
  let failing = false
  const upstream = await rawUpstream(t, socket => socket.end(answer), good)
  const { port, results } = await gate(t, {
    org: `https://localhost:${upstream.port}`,
    pool: {
      ca: [authority.cert],
      lookup: (_name, options, callback) => {
        if (failing) callback(Object.assign(new Error('x'), { code: 'ENOTFOUND' }), '', 4)
        else if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }])
        else callback(null, '127.0.0.1', 4)
      }
    }
  })
  t.match(await ask(port), { status: 200 })
  failing = true
  t.match(await ask(port), { status: 200 })
  t.equal(upstream.connections, 2)
  t.equal(results.length, 2)
})

/** An HTTP proxy that tunnels to this machine, whatever name was asked for. */
async function egressProxy (t: { teardown: (end: () => unknown) => void }, authorization: string, tls?: { cert: string, key: string }) {
  const asked: string[] = []
  const open = new Set<Socket>()
  const server = tls === undefined ? createServer() : createTlsServer(tls)
  server.on('connect', (request, client: Socket) => {
    asked.push(request.url!)
    open.add(client.on('error', () => {}))
    if (request.headers['proxy-authorization'] !== authorization) { client.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'); return }
    const onward = connectTcp(Number(request.url!.split(':')[1]), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      onward.pipe(client).pipe(onward)
    })
    open.add(onward.on('error', () => {}))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { for (const socket of open) socket.destroy(); server.close() })
  return { asked, url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

t.test('through an egress proxy the org is verified just the same', async t => {
  const proxy = await egressProxy(t, 'Basic CANARY')
  const upstream = await rawUpstream(t, socket => socket.write(answer), good)
  const org = `https://localhost:${upstream.port}`
  const authorization = new Secret('Basic CANARY')
  const through = await gate(t, { org, pool: { ca: [authority.cert], proxy: { url: proxy.url, authorization: () => authorization } } })
  for (let i = 0; i < 3; i++) t.match(await ask(through.port, { method: 'POST', body: 'x' }), { status: 200 })
  t.same(new Set(proxy.asked), new Set([`localhost:${upstream.port}`]))
  t.notMatch(Buffer.concat(upstream.received).toString('latin1'), /proxy-authorization/i, 'what is meant for the proxy stays there')
  const unverified = await gate(t, { org, credentials: apiToken('00CANARY'), pool: { proxy: { url: proxy.url, authorization: () => authorization } } })
  t.match(await ask(unverified.port), { status: 502 })
  t.match(unverified.results, [{ kind: 'failed', failure: { code: 'tls' }, sent: false }])
  const refused = await gate(t, { org, pool: { ca: [authority.cert], proxy: { url: proxy.url } } })
  t.match(await ask(refused.port), { status: 502 })
  t.match(refused.results, [{ kind: 'failed', failure: { code: 'unreachable', cause: 'PROXY_REFUSED' }, sent: false }])
})

t.test('the way to an egress proxy may be TLS, too, and is verified', async t => {
  const authorization = (): Secret => new Secret('Basic CANARY')
  const upstream = await rawUpstream(t, socket => socket.write(answer), good)
  const proxy = await egressProxy(t, 'Basic CANARY', good)
  const org = `https://localhost:${upstream.port}`
  const through = await gate(t, { org, pool: { ca: [authority.cert], proxy: { url: proxy.url, authorization } } })
  for (let i = 0; i < 3; i++) t.match(await ask(through.port, { method: 'POST', body: 'x' }), { status: 200 })
  t.same(new Set(proxy.asked), new Set([`localhost:${upstream.port}`]))
  const stranger = await egressProxy(t, 'Basic CANARY', makeCertificate({ commonName: 'proxy', names: ['127.0.0.1'] }))
  const unverified = await gate(t, { org, pool: { ca: [authority.cert], proxy: { url: stranger.url, authorization } } })
  t.match(await ask(unverified.port), { status: 502 })
  t.same(stranger.asked, [], 'who is not known to be the proxy is not asked, and gets no credential')
})

t.test('a change of the org\'s addresses is followed when connections have become old', async t => {
  const before = await rawUpstream(t, socket => socket.write(answer))
  const after = createTcpServer(socket => { socket.on('error', () => {}).on('data', () => socket.write('HTTP/1.1 201 Moved here\r\nContent-Length: 2\r\n\r\nok')) })
  await new Promise<void>(resolve => after.listen(before.port, '127.0.0.2', resolve))
  t.teardown(() => { after.close() })
  let address = '127.0.0.1'
  const { port } = await gate(t, {
    org: `http://localhost:${before.port}`,
    pool: { lifeMs: 300, lookup: (_name, options, callback) => { if (options.all === true) callback(null, [{ address, family: 4 }]); else callback(null, address, 4) } }
  })
  t.match(await ask(port), { status: 200 })
  address = '127.0.0.2'
  t.match(await ask(port), { status: 200 }, 'a connection that stands is used')
  await new Promise(resolve => setTimeout(resolve, 350))
  t.match(await ask(port), { status: 201 }, 'then the new address is')
})

t.test('a name with a dead IPv6 address and a living IPv4 one is reached', async t => {
  const upstream = await rawUpstream(t, socket => socket.write(answer), good)
  const { port } = await gate(t, {
    org: `https://localhost:${upstream.port}`,
    pool: { ca: [authority.cert], connectMs: 3000, lookup: (_name, options, callback) => { if (options.all === true) callback(null, [{ address: '::1', family: 6 }, { address: '127.0.0.1', family: 4 }]); else callback(null, '127.0.0.1', 4) } }
  })
  t.match(await ask(port), { status: 200 })
})

t.test('the breaker opens for what fails on the way, and lets one call through to see', async t => {
  let now = 0
  const told: boolean[] = []
  const breaker = new Breaker(() => now, open => { told.push(open) })
  const fail = (code: Parameters<Breaker['failed']>[0], times: number): void => { for (let i = 0; i < times; i++) { breaker.permit(); breaker.failed(code) } }
  fail('credential', 20)
  fail('timeout', 4)
  breaker.answered()
  fail('reset', 4)
  t.equal(breaker.permit(), true, 'not five in a row')
  breaker.failed('tls')
  t.equal(breaker.open, true)
  t.equal(breaker.permit(), false)
  now = 1000
  t.same([breaker.permit(), breaker.permit()], [true, false], 'one probe')
  breaker.failed('unreachable')
  now = 2500
  t.equal(breaker.permit(), false, 'the pause has doubled')
  now = 3000
  t.equal(breaker.permit(), true)
  breaker.abandoned()
  t.equal(breaker.permit(), true, 'its caller has left: another one may see')
  breaker.answered()
  t.same([breaker.open, breaker.permit(), breaker.permit()], [false, true, true])
  t.same(told, [true, false], 'said once each')

  for (let i = 0; i < 40; i++) breaker.permit()
  for (let i = 0; i < 40; i++) breaker.failed('reset')
  now += 1000
  t.equal(breaker.permit(), true, 'forty calls that were cut off together are one reason to wait, not forty')
  breaker.answered()
  t.same(told, [true, false, true, false])
})

t.test('what this machine lacks is no fault of the upstream: the breaker stays as it is', async t => {
  const breaker = new Breaker(() => 0)
  const failure = (code: string): Parameters<Breaker['failed']>[0] => nameFailure(Object.assign(new Error('connect'), { code }), false, false).code
  for (const code of ['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM']) {
    t.equal(failure(code), 'internal', code)
    for (let i = 0; i < 5; i++) breaker.failed(failure(code))
  }
  t.equal(breaker.open, false)
  for (const code of ['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'UND_ERR_CONNECT_TIMEOUT']) t.equal(failure(code), 'unreachable', code)
})

t.test('a connection that has become old is replaced, and not before', async t => {
  const upstream = await rawUpstream(t, socket => socket.write(answer))
  const { port } = await gate(t, { org: `http://127.0.0.1:${upstream.port}`, pool: { lifeMs: 300 } })
  for (let i = 0; i < 3; i++) t.match(await ask(port), { status: 200 })
  t.equal(upstream.connections, 1, 'one serves while it is young')
  await new Promise(resolve => setTimeout(resolve, 350))
  for (let i = 0; i < 3; i++) t.match(await ask(port), { status: 200 })
  t.equal(upstream.connections, 2, 'then another one')
})
