import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { fetchIssuerKeys } from '../../src/clients/https.js'
import { createIssuerKeys, fixedIssuerKeys } from '../../src/clients/issuer-keys.js'
import type { UnverifiedJwt } from '../../src/clients/jwt.js'
import { createNonces } from '../../src/clients/nonce.js'
import { isPrivateAddress } from '../../src/clients/private-address.js'
import { candidates, readKeySet, readPublicKey } from '../../src/clients/public-key.js'
import { SeenOnceInMemory } from '../../src/clients/seen-once.js'
import { SharedSeenOnce, type SeenEvent } from '../../src/clients/seen-shared.js'
import { newTokenKey, readTokenKeys, TokenKeyError } from '../../src/clients/token-keys.js'
import { isRequestUrl, isTokenUrl } from '../../src/clients/token-url.js'
import { createWorkloads, readWorkloadToken, type Issuer, type WorkloadClient } from '../../src/clients/workload.js'
import { Secret } from '../../src/domain/secret.js'
import { makePair, NOW, PUBLIC_URL, SECONDS, sign, type Pair } from './tokens.js'

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
      '/big': { keys: [key], padding: 'x'.repeat(300_000) },
      '/full': { keys: [key], padding: 'x'.repeat(262_144 - JSON.stringify({ keys: [key], padding: '' }).length) },
      '/more': { keys: [key], padding: 'x'.repeat(262_145 - JSON.stringify({ keys: [key], padding: '' }).length) },
      '/slash/.well-known/openid-configuration': { issuer: `${at}/slash/`, jwks_uri: `${at}/keys` },
      '/null/.well-known/openid-configuration': null,
      '/bare/.well-known/openid-configuration': { issuer: `${at}/bare` },
      '/odd/.well-known/openid-configuration': { issuer: `${at}/odd`, jwks_uri: 'keys' }
    }
    if (request.url === '/text') { response.end('{"keys": secret'); return }
    if (request.url === '/made') { response.writeHead(201).end(JSON.stringify({ keys: [key] })); return }
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
  t.equal((await get({ jwksUrl: `${origin}/full` })).length, 1, '256 kB are read')
  await t.rejects(get({ jwksUrl: `${origin}/more` }), { message: /256 kB/ })
  t.equal((await get({ issuer: `${origin}/slash/` })).length, 1, 'a slash is not written twice')
  await t.rejects(get({ issuer: `${origin}/null` }), { message: /another issuer/ })
  for (const issuer of ['bare', 'odd']) await t.rejects(get({ issuer: `${origin}/${issuer}` }), { message: /no jwks_uri/ })
  await t.rejects(get({ jwksUrl: `${origin}/text` }), { message: 'answered no JSON' }, 'and repeats nothing of it')
  await t.rejects(get({ jwksUrl: `${origin}/made` }), { message: 'answered 201' })
  const before = asked
  await t.rejects(get({ allowPrivateNetwork: false }), { message: 'the address is private' })
  await t.rejects(fetchIssuerKeys({ issuer: 'https://localhost', allowPrivateNetwork: false })(), { message: /private address/ }, 'by name, too')
  await t.rejects(fetchIssuerKeys({ issuer: 'https://[::1]', allowPrivateNetwork: false })(), { message: 'the address is private' })
  await t.rejects(fetchIssuerKeys({ issuer: 'http://issuer.example', allowPrivateNetwork: false })(), { message: 'the URL is not https' })
  await t.rejects(get({ jwksUrl: origin.replace('http', 'ftp') }), { message: 'the URL is not https' })
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

t.test('an issuer\'s keys: when they are asked for again, to the millisecond', async t => {
  let fetched = 0
  let fails: unknown
  const told: Array<[string | undefined, number]> = []
  const make = (): ReturnType<typeof createIssuerKeys> => createIssuerKeys(async () => {
    fetched++
    if (fails !== undefined) throw fails
    return keys
  }, undefined, undefined, (failure, kept) => { told.push([failure, kept]) })
  const asked = async (issuer: ReturnType<typeof createIssuerKeys>, kid: string | undefined, now: number): Promise<number> => {
    const before = fetched
    await issuer.for(kid, now)
    await new Promise(resolve => setImmediate(resolve))
    return fetched - before
  }
  const issuer = make()
  t.match(issuer.status, { keys: 0, fetchedAt: undefined, failure: undefined })
  fails = new Error('one')
  t.equal(await asked(issuer, 'one', NOW), 1)
  t.strictSame(await issuer.for('one', NOW), [], 'there are none')
  t.match(issuer.status, { keys: 0, fetchedAt: undefined, failure: 'one' })
  t.equal(await asked(issuer, undefined, NOW + 29_999), 0, 'one that is down is not asked at once again')
  t.equal(await asked(issuer, undefined, NOW + 30_000), 1)
  t.equal(await asked(issuer, 'one', NOW + 29_999), 1, 'a clock that went back')
  fails = 'a text'
  t.equal(await asked(issuer, 'one', NOW + 60_000), 1)
  t.strictSame(told, [['one', 0], ['failed', 0]], 'the same failure is told once')
  fails = undefined
  t.equal(await asked(issuer, 'one', NOW + 90_000), 1)
  t.match(issuer.status, { keys: 1, fetchedAt: NOW + 90_000, failure: undefined })
  t.strictSame(told.splice(0).at(-1), [undefined, 1])
  t.equal(await asked(issuer, undefined, NOW + 90_000), 0, 'no kid may be any of them')
  t.equal(await asked(issuer, 'new', NOW + 90_000), 1, 'the first unknown kid')
  t.equal(await asked(issuer, 'new', NOW + 119_999), 0)
  t.equal(await asked(issuer, 'new', NOW + 120_000), 1)
  t.equal(await asked(issuer, 'one', NOW + 3_719_999), 0)
  t.equal(await asked(issuer, 'one', NOW + 3_720_000), 1, 'an hour old')
  t.equal(await asked(issuer, 'one', NOW + 3_720_001), 0)
  t.equal(await asked(issuer, 'one', NOW + 7_320_000), 1)
  t.equal(await asked(issuer, 'new', NOW + 7_320_000), 1, 'what was fetched for its age is no answer to an unknown kid')
  t.strictSame(told, [], 'that all is well is not told')
  const fixed = fixedIssuerKeys(keys)
  t.strictSame([await fixed.for('x', NOW), fixed.status], [keys, { keys: 1 }])
})

t.test('the gate\'s own keys: the first signs, all verify; P-256 alone, in PEM or JWK', async t => {
  const [first, second] = [makePair('ES256'), makePair('ES256')]
  const pem = (pair: Pair): string => pair.secret.export({ type: 'pkcs8', format: 'pem' }) as string
  const texts = [`\n ${pem(first)}\n`, ` ${JSON.stringify(second.secret.export({ format: 'jwk' }))} `]
  const read = await readTokenKeys(texts.map(text => new Secret(text)))
  t.match(read.signing.kid, /^[A-Za-z0-9_-]{16}$/)
  t.equal(read.signing.key.export({ type: 'pkcs8', format: 'pem' }), pem(first))
  t.strictSame([...read.verifying.keys()][0], read.signing.kid)
  t.strictSame([...read.verifying.values()].map(key => key.export({ format: 'jwk' })), [first.jwk, second.jwk])
  const made = await newTokenKey()
  t.equal((await readTokenKeys([made])).verifying.size, 1)
  const bad: [string, string[], RegExp][] = [
    ['none', [], /no signing key/],
    ['P-384', [pem(makePair('ES384'))], /no P-256 key/],
    ['RSA', [pem(makePair('RS256'))], /no P-256 key/],
    ['a public key', [first.secret.export({ format: 'jwk' })].map(({ d, ...open }) => JSON.stringify(open)), /unencrypted private key/],
    ['encrypted', [first.secret.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }) as string], /unencrypted private key/],
    ['nothing', [''], /unencrypted private key/],
    ['no JSON', ['{'], /unencrypted private key/],
    ['the second', [pem(first), 'x'], /unencrypted private key/]
  ]
  for (const [name, list, why] of bad) {
    const error = await readTokenKeys(list.map(text => new Secret(text))).then(() => undefined, (one: unknown) => one)
    t.ok(error instanceof TokenKeyError, name)
    t.match(error, { message: why }, name)
  }
})

t.test('nonces: a new one each day, three days good, of this gate\'s keys and form', async t => {
  const DAY = 86_400_000
  const tokenKeys = await readTokenKeys([await newTokenKey()])
  let count = 0
  const make = (url = PUBLIC_URL, of = tokenKeys): ReturnType<typeof createNonces> => createNonces(url, of, () => `id${count++}`)
  const nonces = make()
  const first = await nonces.current(NOW)
  t.equal(await nonces.current(NOW + DAY - 1), first)
  const second = await nonces.current(NOW + DAY)
  t.not(second, first)
  t.equal(await nonces.current(NOW + DAY), second)
  t.not(await nonces.current(NOW + DAY - 1), second, 'a clock that went back')
  for (const one of [nonces, make()]) t.strictSame([await one.accepts(first, NOW + 3 * DAY - 1), await one.accepts(first, NOW + 3 * DAY)], [true, false], 'three days')
  t.equal(await make().accepts(first, NOW + 3 * DAY), false, 'not even by one that sees it late')
  const claims = { iss: PUBLIC_URL, jti: 'x', exp: SECONDS + 60 }
  const own = { secret: tokenKeys.signing.key, jwk: {}, alg: 'ES256' }
  const header = { typ: 'nonce+jwt', kid: tokenKeys.signing.kid }
  t.equal(await nonces.accepts(await sign(own, claims, header), NOW), true)
  const bad: [string, unknown][] = [
    ['no text', 7], ['nothing', undefined], ['empty', ''], ['no JWT', 'x'],
    ['another type', await sign(own, claims, { ...header, typ: 'at+jwt' })],
    ['another gate', await sign(own, { ...claims, iss: 'https://other.example' }, header)],
    ['no end', await sign(own, { ...claims, exp: undefined }, header)],
    ['over', await sign(own, { ...claims, exp: SECONDS }, header)],
    ['an unknown key', await sign(own, claims, { ...header, kid: 'x' })],
    ['no key', await sign(own, claims, { typ: header.typ })],
    ['another\'s signature', await sign(makePair('ES256'), claims, header)],
    ['too long', await sign(own, { ...claims, pad: 'x'.repeat(1000) }, header)]
  ]
  for (const [name, nonce] of bad) t.equal(await nonces.accepts(nonce, NOW), false, name)
})

t.test('a key of a set, and which of them may have signed', async t => {
  const [one, two, rsaKey] = [makePair('ES256'), makePair('ES256'), makePair('RS256')]
  const { keys } = await readKeySet({ keys: [{ ...one.jwk, kid: 'one' }, two.jwk, { ...rsaKey.jwk, kid: 'r', alg: 'RS512', use: 'sig' }] })
  const [first, second, third] = keys
  t.strictSame(candidates(keys, undefined, 'ES256'), [first, second])
  t.strictSame(candidates(keys, 'one', 'ES256'), [first])
  t.strictSame(candidates(keys, first!.thumbprint, 'ES256'), [first], 'by its thumbprint')
  t.strictSame(candidates(keys, 'other', 'ES256'), [second], 'a key without a name may have any')
  t.strictSame(candidates(keys, 'r', 'ES256'), [second])
  t.strictSame(candidates(keys, 'r', 'RS512'), [third])
  t.strictSame(candidates(keys, undefined, 'RS256'), [], 'it names one algorithm')
  t.strictSame([...(await readKeySet({ keys: [rsaKey.jwk] })).keys[0]!.algorithms], ['RS256', 'RS384', 'RS512', 'PS256'])
  const rows: [string, unknown, RegExp][] = [
    ['null', null, /is no JWK/], ['a list', [], /is no JWK/], ['a text', 'x', /is no JWK/],
    ['k', { ...one.jwk, k: 'x' }, /symmetric/], ['oct', { kty: 'oct' }, /symmetric/],
    ...['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth'].map((name): [string, unknown, RegExp] => [name, { ...one.jwk, [name]: 'x' }, /holds a private key/]),
    ['use', { ...one.jwk, use: 'enc' }, /not for signatures/], ['kid', { ...one.jwk, kid: 1 }, /kid that is no text/],
    ['curve', { ...one.jwk, crv: 'secp256k1' }, /neither RSA/], ['kty', { ...one.jwk, kty: 'OKP' }, /neither RSA/],
    ['alg', { ...one.jwk, alg: 'ES384' }, /possible are ES256/], ['alg of RSA', { ...rsaKey.jwk, alg: 'ES256' }, /possible are RS256, RS384, RS512, PS256/],
    ['point', { ...one.jwk, x: one.jwk.y }, /malformed/]
  ]
  for (const [name, jwk, why] of rows) {
    t.match(await readPublicKey(jwk), why, name)
    t.match((await readKeySet({ keys: [two.jwk, jwk] })).problems, [{ index: 1, message: why }], name)
    t.match(await readKeySet({ keys: [two.jwk, jwk] }, true), { keys: [{}], problems: [] }, `${name}: of an issuer's no concern`)
    t.match(await readKeySet({ keys: [jwk] }, true), { keys: [], problems: [{ message: 'none of its keys can be used' }] })
  }
  t.match((await readKeySet({ keys: [rsaKey.jwk, two.jwk, { ...two.jwk, kid: 'z' }] })).problems, [{ index: 2, message: 'key 3 stands there twice' }])
  t.equal((await readKeySet({ keys: [two.jwk, { ...two.jwk, kid: 'z' }] }, true)).keys.length, 2)
  for (const value of [undefined, null, 'x', {}, { keys: {} }]) t.match((await readKeySet(value)).problems, [{ message: /no JWK Set/ }])
  const many = (count: number): unknown => ({ keys: Array.from({ length: count }, () => two.jwk) })
  t.match((await readKeySet(many(101), true)).problems, [{ message: 'a JWK Set has 1 to 100 keys' }])
  t.equal((await readKeySet(many(100), true)).keys.length, 100)
})

t.test('a token of a workload is believed for five minutes without its issuer\'s keys, and not beyond its end', async t => {
  const pair = makePair('RS256')
  const issuer = 'https://ci.example'
  const { keys: known } = await readKeySet({ keys: [{ ...pair.jwk, kid: 'k' }] }, true)
  let there = known
  const of: Issuer = { issuer, algorithms: new Set(['RS256']), keys: { for: async () => there, status: { keys: 0, failure: 'it is down' } } }
  const entry = (client: string, audience: string): WorkloadClient => ({ client, issuer, audience, claims: new Map() })
  const workloads = createWorkloads([of], [entry('a', 'gate'), entry('a', 'gate'), entry('b', 'other')], 60)
  const claims = { iss: issuer, sub: 'job', aud: 'gate', exp: SECONDS + 3000 }
  const verify = async (more: Record<string, unknown>, header: Record<string, unknown> = { kid: 'k' }, now = NOW): Promise<{ text: string, is: unknown }> => {
    const text = await sign(pair, { ...claims, ...more }, header)
    const jwt = readWorkloadToken(text)
    if (typeof jwt === 'string') throw new Error(jwt)
    t.equal(workloads.issuerOf(jwt), of)
    return { text, is: await workloads.verify(jwt, of, now) }
  }
  const long = await verify({})
  t.match(long.is, { id: 'a', keyId: /^[0-9a-f]{8}$/, method: 'workload' })
  t.strictSame([NOW, NOW + 299_999].map(now => workloads.known(long.text, now)), [long.is, long.is])
  t.equal(workloads.known(long.text, NOW + 300_000), undefined)
  t.equal(workloads.known(`${long.text}x`, NOW), undefined)
  const short = await verify({ exp: SECONDS + 100 })
  t.strictSame([workloads.known(short.text, NOW + 159_999), workloads.known(short.text, NOW + 160_000)], [short.is, undefined], 'a minute of leeway')
  t.match((await verify({ aud: ['x', 'other'] })).is, { id: 'b' }, 'one of several audiences')
  t.match((await verify({ sub: 'job2' })).is, { id: 'a' })
  t.not(((await verify({ sub: 'job2' })).is as { keyId: string }).keyId, (long.is as { keyId: string }).keyId, 'jobs are told apart')
  t.match((await verify({}, {})).is, { id: 'a' }, 'without a kid')
  t.match((await verify({}, { kid: 7 })).is, { causes: [/no text/] })
  t.match((await verify({}, { kid: 'x'.repeat(256) })).is, { causes: [/no key of its issuer/] })
  t.match((await verify({}, { kid: 'x'.repeat(257) })).is, { causes: [/no text/] })
  there = []
  t.match((await verify({})).is, { causes: [/not known at the moment/], detail: 'no keys of https://ci.example: it is down' })
  const nobody = readWorkloadToken(await sign(pair, { ...claims, iss: 'https://other.example' }))
  t.equal(workloads.issuerOf(nobody as UnverifiedJwt), undefined)
})
