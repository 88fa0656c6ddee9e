import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { fetchIssuerKeys } from '../../src/clients/https.js'
import { createIssuerKeys } from '../../src/clients/issuer-keys.js'
import { isPrivateAddress } from '../../src/clients/private-address.js'
import { readKeySet } from '../../src/clients/public-key.js'
import { SeenOnceInMemory } from '../../src/clients/seen-once.js'
import { SharedSeenOnce, type SeenEvent } from '../../src/clients/seen-shared.js'
import { isRequestUrl, isTokenUrl } from '../../src/clients/token-url.js'
import { makePair, NOW, PUBLIC_URL } from './tokens.js'

const key = { ...makePair('RS256').jwk, kid: 'one' }
const { keys } = await readKeySet({ keys: [key] })

t.test('an issuer\'s keys are held, fetched once for all, and kept while it is down', async t => {
  let fetched = 0
  let down = false
  const told: Array<[string | undefined, number]> = []
  const issuer = createIssuerKeys(async () => {
    fetched++
    if (down) throw new Error('it is down')
    return keys
  }, 3_600_000, 30_000, (failure, kept) => { told.push([failure, kept]) })
  await Promise.all(Array.from({ length: 50 }, () => issuer.for('one', NOW)))
  t.equal(fetched, 1, 'one flight')
  await issuer.for('one', NOW + 1000)
  t.equal(fetched, 1)
  for (let i = 0; i < 100; i++) await issuer.for(`unknown ${i}`, NOW + 2000)
  t.equal(fetched, 2, 'the first unknown kid fetches at once, the next ones do not within the cool-down')
  for (let i = 0; i < 100; i++) await issuer.for(`unknown ${i}`, NOW + 33_000)
  t.equal(fetched, 3, 'and once after it')
  t.same(told, [])
  down = true
  t.same(await issuer.for('one', NOW + 4_000_000), keys, 'old keys are good enough while new ones come')
  await new Promise(resolve => setImmediate(resolve))
  t.same(await issuer.for('one', NOW + 4_100_000), keys, 'and stay when none come')
  t.match(issuer.status, { keys: 1, failure: 'it is down' })
  t.same(told, [['it is down', 1]], 'operators hear of it once')
  down = false
  await issuer.for('unknown', NOW + 4_200_000)
  t.same(told, [['it is down', 1], [undefined, 1]], 'and when it is over')
})

async function serve (t: { teardown: (end: () => void) => void }, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('fetching: discovery, no redirects, bounded, no private network unless told so', async t => {
  let at = ''
  let asked = 0
  const origin = await serve(t, (request, response) => {
    asked++
    const answers: Record<string, unknown> = {
      '/.well-known/openid-configuration': { issuer: at, jwks_uri: `${at}/keys` },
      '/keys': { keys: [key, { kty: 'OKP', crv: 'Ed25519', x: 'AAAA' }] },
      '/other/.well-known/openid-configuration': { issuer: 'https://other.example', jwks_uri: `${at}/keys` },
      '/empty': { keys: [] },
      '/big': { keys: [key], padding: 'x'.repeat(300_000) }
    }
    if (request.url === '/moved') { response.writeHead(302, { location: `${at}/keys` }).end(); return }
    const answer = answers[request.url!]
    if (answer === undefined) { response.writeHead(404).end(); return }
    response.end(JSON.stringify(answer))
  })
  at = origin
  const get = (more: object) => fetchIssuerKeys({ issuer: origin, allowPrivateNetwork: true, ...more })()
  t.equal((await get({})).length, 1, 'by discovery; a key of a kind that is not used is left out')
  t.equal((await get({ jwksUrl: `${origin}/keys` })).length, 1)
  await t.rejects(get({ jwksUrl: `${origin}/moved` }), { message: 'answered 302' })
  await t.rejects(get({ jwksUrl: `${origin}/none` }), { message: 'answered 404' })
  await t.rejects(get({ jwksUrl: `${origin}/big` }), { message: /256 kB/ })
  await t.rejects(get({ jwksUrl: `${origin}/empty` }), { message: /1 to 100/ })
  await t.rejects(get({ issuer: `${origin}/other` }), { message: /another issuer/ })
  const before = asked
  await t.rejects(get({ allowPrivateNetwork: false }), { message: 'the address is private' })
  await t.rejects(fetchIssuerKeys({ issuer: 'https://localhost', allowPrivateNetwork: false })(), { message: /private address/ }, 'by name, too')
  t.equal(asked, before, 'nothing was sent')
})

t.test('private addresses', async t => {
  for (const address of ['127.0.0.1', '10.1.2.3', '172.31.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '0.0.0.0', '::1', '::', 'fd00::1', 'fe80::1', '::ffff:10.0.0.1', '64:ff9b::a00:1', '224.0.0.1', '2002:a00:1::']) t.equal(isPrivateAddress(address), true, address)
  for (const address of ['8.8.8.8', '172.32.0.1', '2606:4700::1111', '::ffff:8.8.8.8']) t.equal(isPrivateAddress(address), false, address)
})

t.test('a value is new once, within its time and within bounds', async t => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.nat(20), fc.nat(600_000)), { maxLength: 200 }), steps => {
    const seen = new SeenOnceInMemory(1000)
    const model = new Map<string, number>()
    let now = NOW
    for (const [owner, value, ms] of steps) {
      now += ms % 5000
      const name = `${owner} ${value}`
      const use = seen.use(owner, String(value), now + ms, now)
      const until = model.get(name)
      // It may be remembered longer than needed, never shorter.
      if (until !== undefined && now < until && use !== 'again') throw new Error('forgotten too early')
      if (until === undefined && use !== 'first') throw new Error('refused though new')
      if (use === 'first') model.set(name, now + ms)
    }
  }))
  const small = new SeenOnceInMemory(8, 4)
  for (let i = 0; i < 4; i++) t.equal(small.use('a', `${i}`, NOW + 60_000, NOW), 'first')
  t.equal(small.use('a', 'x', NOW + 60_000, NOW), 'full')
  t.equal(small.use('b', 'x', NOW + 60_000, NOW), 'first', 'one client does not take the room of the others')
  t.equal(small.use('a', 'x', NOW + 300_000, NOW + 180_000), 'first', 'room again')
  t.equal(small.size, 1)
  const minute = Math.ceil(NOW / 60_000) * 60_000
  const timed = new SeenOnceInMemory(8, 3)
  t.same([timed.use('a', 'short', minute + 30_000, minute), timed.use('a', 'long', minute + 300_000, minute), timed.use('a', 'longer', minute + 400_000, minute)], ['first', 'first', 'first'])
  t.same([60_000, 120_000, 240_000, 299_999].map(ms => timed.use('a', 'long', minute + 300_000, minute + ms)), ['again', 'again', 'again', 'again'], 'not forgotten with what ends before it')
  t.equal(timed.size, 2, 'what has ended is')
  t.same([timed.use('a', 'next', minute + 400_000, minute + 299_999), timed.use('a', 'one more', minute + 400_000, minute + 299_999)], ['first', 'full'], 'those that are left still count')
  t.same([timed.has('a', 'long', minute + 299_999), timed.has('a', 'other', minute + 299_999), timed.has('b', 'long', minute + 299_999), timed.has('a', 'long', minute + 420_000)], [true, false, false, false])
  const quarter = new SeenOnceInMemory(8)
  t.same(['1', '2', '3'].map(value => quarter.use('a', value, NOW + 60_000, NOW)), ['first', 'first', 'full'], 'a quarter of the room is one client\'s')
})

t.test('only the token URL is the token URL, and only this request\'s URL is its own', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.webUrl(), url => !isTokenUrl(url, PUBLIC_URL) && !isRequestUrl(url, PUBLIC_URL, '/api/v1/users/00u1'))))
  t.doesNotThrow(() => fc.assert(fc.property(fc.anything(), value => !isTokenUrl(value, PUBLIC_URL) && !isRequestUrl(value, PUBLIC_URL, '/api/v1/users/00u1'))))
  for (const url of ['/oauth2/v1/token', '//oauth2/v1/token', ':443/oauth2/v1/token', ':443//oauth2/v1/token']) t.equal(isTokenUrl(PUBLIC_URL + url, PUBLIC_URL), true, url)
  for (const url of ['/./oauth2/v1/token', '/x/../oauth2/v1/token', '/oauth2/v1/%74oken', '///oauth2/v1/token', '/oauth2/v1/token/', '/oauth2/v1/token?', '.:443/oauth2/v1/token', ':444/oauth2/v1/token']) t.equal(isTokenUrl(PUBLIC_URL + url, PUBLIC_URL), false, url)
  for (const path of ['/api/v1/users/00u1', '/api/v1/users/a%40b.c', '/api/v1/users/a+b']) {
    for (const tail of ['', '?a=b', '#x']) t.equal(isRequestUrl(PUBLIC_URL + path + tail, PUBLIC_URL, path), true)
    for (const wrong of [`${PUBLIC_URL}${path}/`, `${PUBLIC_URL}/${path}`, `${PUBLIC_URL}${path.toUpperCase()}`, `https://x@gate.example.com${path}`, `${PUBLIC_URL}.evil.example${path}`]) t.equal(isRequestUrl(wrong, PUBLIC_URL, path), false, wrong)
  }
  t.equal(isRequestUrl(`${PUBLIC_URL}/api/v1/users/a@b.c`, PUBLIC_URL, '/api/v1/users/a%40b.c'), true, 'Okta\'s Java SDK writes it decoded')
})

t.test('a store of used values: bounded by time, asked once, and decided when it does not answer', async t => {
  const noted: [string, number][] = []
  let broken = false
  const events: SeenEvent[] = []
  const make = (onLoss: 'refuse' | 'alone') => new SharedSeenOnce({
    onLoss,
    note: event => { events.push(event) },
    store: {
      note: async (name, ms) => {
        if (broken) throw new Error('no answer within 50 ms')
        if (noted.some(([one]) => one === name)) return false
        noted.push([name, ms])
        return true
      }
    }
  })
  const [strict, alone] = [make('refuse'), make('alone')]
  t.equal(await strict.use('a', 'secret', NOW + 1000.5, NOW), 'first')
  t.same(noted[0]![1], 3001, 'milliseconds, rounded up, and a margin')
  t.notMatch(noted[0]![0], /secret/, 'only its hash is stored')
  t.equal(await strict.use('a', 'secret', NOW + 1000, NOW), 'again')
  t.equal(await alone.use('a', 'secret', NOW + 1000, NOW), 'again', 'at another gate')
  t.equal(await alone.use('b', 'secret', NOW + 1000, NOW), 'first', 'of another client it is another value')
  t.equal(await strict.use('a', 'late', NOW - 5, NOW), 'first')
  t.same(noted.at(-1)![1], 2001, 'never without an end')
  broken = true
  t.same([await strict.use('a', 'x', NOW + 1000, NOW), await strict.use('a', 'x', NOW + 1000, NOW)], ['unknown', 'unknown'])
  t.same([await alone.use('a', 'x', NOW + 1000, NOW), await alone.use('a', 'x', NOW + 1000, NOW)], ['first', 'again'])
  broken = false
  t.equal(await strict.use('a', 'x', NOW + 1000, NOW), 'first')
  t.equal(await alone.use('a', 'y', NOW + 1000, NOW), 'first')
  t.same(events.map(({ kind }) => kind), ['lost', 'lost', 'back', 'back'], 'told once each')
  t.same(strict.status, { lost: false, unanswered: 2 })
})
