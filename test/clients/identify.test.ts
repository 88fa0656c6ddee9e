import t from 'tap'
import fc from 'fast-check'
import * as crypto from 'node:crypto'
import { createHash, randomBytes } from 'node:crypto'
import { KEY_LENGTH, hashKey, isWellFormedKey, newKey } from '../../src/clients/api-key.js'
import { buildClientIndex, type ClientEntry } from '../../src/clients/identify.js'
import { createFailures, networkOf } from '../../src/clients/failures.js'
import { isRejection } from '../../src/domain/rejection.js'

const NOW = Date.UTC(2026, 10, 22, 12)
const DAY = 86_400_000
const endOf = (day: string) => Date.parse(day) + DAY
const alphabet = [...'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz']

t.test('a key is recognisable, and its hash is SHA-256 of its text', async t => {
  for (let i = 0; i < 200; i++) {
    const { key, sha256 } = newKey(randomBytes)
    t.match(key, /^ngk_[0-9A-Za-z]{49}$/)
    t.equal(key.length, KEY_LENGTH)
    t.equal(sha256, createHash('sha256').update(key).digest('hex'))
    t.equal(isWellFormedKey(key), true)
  }
  const one = newKey(size => new Uint8Array(size).fill(0xff)).key
  const other = newKey(size => new Uint8Array(size).fill(0xff).fill(0xfe, 31)).key
  t.not(one, other, 'the last bit counts')
  t.equal(newKey(size => new Uint8Array(size)).key.length, KEY_LENGTH, 'leading zeros stay')
  t.throws(() => newKey(() => new Uint8Array(0)), 'an empty source makes no key')
  t.throws(() => newKey(() => new Uint8Array(8)), { message: /gave 8 bytes instead of 32/ }, 'a short source makes no key')
})

t.test('a key with any character changed, added, removed or swapped is refused', async t => {
  const seeds = fc.uint8Array({ minLength: 32, maxLength: 32 })
  t.doesNotThrow(() => fc.assert(fc.property(seeds, fc.nat(KEY_LENGTH - 1), fc.constantFrom(...alphabet, '_', '-', ' ', 'é'), (seed, at, character) => {
    const { key } = newKey(() => seed)
    const changed = key.slice(0, at) + character + key.slice(at + 1)
    const swapped = key.slice(0, at) + (key[at + 1] ?? '') + key[at] + key.slice(at + 2)
    return (changed === key || !isWellFormedKey(changed)) &&
      (swapped === key || !isWellFormedKey(swapped)) &&
      !isWellFormedKey(key.slice(0, at) + key.slice(at + 1)) && !isWellFormedKey(key.slice(0, at) + character + key.slice(at))
  }), { numRuns: 500 }))
  const { key } = newKey(randomBytes)
  for (const wrong of [`${key}\n`, ` ${key}`, key.toUpperCase(), key.replace('ngk_', 'ngk-'), '']) t.equal(isWellFormedKey(wrong), false)
})

const good = newKey(randomBytes)
const second = newKey(randomBytes)
const oldKey = newKey(randomBytes)
const oldPolicy = newKey(randomBytes)
const shared = newKey(randomBytes)
const stranger = newKey(randomBytes)
const entries: ClientEntry[] = [
  { client: 'portal', networks: ['10.0.0.0/8'], keys: [{ sha256: good.sha256 }, { sha256: second.sha256, expiresAt: endOf('2026-11-22') }, { sha256: oldKey.sha256, expiresAt: endOf('2026-11-21') }] },
  { client: 'former', expiresAt: endOf('2026-10-31'), networks: [], keys: [{ sha256: oldPolicy.sha256 }] },
  { client: 'one', keys: [{ sha256: shared.sha256 }] },
  { client: 'two', keys: [{ sha256: shared.sha256 }] }
]
const { index, conflicts } = buildClientIndex(entries)
const damaged = good.key.slice(0, -1) + (good.key.endsWith('A') ? 'B' : 'A')
const portal = { id: 'portal', keyId: good.sha256.slice(0, 8), method: 'apiKey' }

t.test('who presents a listed key is that client', async t => {
  for (const header of [`SSWS ${good.key}`, `SSWS${good.key}`, `ssws ${good.key}`, `Bearer ${good.key}`, `bearer ${good.key}`, `BEARER  ${good.key}`, `SSWS ${good.key} `]) {
    t.same(index.identify(header, NOW), portal, header.slice(0, 8))
  }
  t.match(index.identify(`SSWS ${second.key}`, NOW), { id: 'portal', keyId: second.sha256.slice(0, 8) }, 'good until 24:00 UTC of its last day')
  t.match(index.identify(`SSWS ${second.key}`, endOf('2026-11-22')), { code: 'bad_credential' })
  t.equal(index.identify(`SSWS ${good.key}`, NOW), index.identify(`Bearer ${good.key}`, NOW), 'nothing is allocated for it')
})

t.test('a key that is listed and one that is not are compared alike: all 64 digits of the hashes, once, by node\'s constant-time comparison', async t => {
  const compared: number[] = []
  const timingSafeEqual = (a: Buffer, b: Buffer): boolean => { compared.push(a.length, b.length); return crypto.timingSafeEqual(a, b) }
  const { buildClientIndex } = await t.mockImport('../../src/clients/identify.js', { 'node:crypto': { ...crypto, timingSafeEqual } }) as typeof import('../../src/clients/identify.js')
  const [listed, expired, stranger] = [newKey(randomBytes), newKey(randomBytes), newKey(randomBytes)]
  const { index } = buildClientIndex([{ client: 'a', keys: [{ sha256: listed.sha256 }, { sha256: expired.sha256, expiresAt: NOW - 1 }] }])
  for (const { key } of [listed, expired, stranger]) index.identify(`SSWS ${key}`, NOW)
  t.same(compared, [64, 64, 64, 64, 64, 64])
})

t.test('everyone else is refused, with a cause that helps its sender and tells nobody else anything', async t => {
  const table: [string, string | undefined, string, RegExp | undefined][] = [
    ['no header', undefined, 'no_credential', undefined],
    ['empty header', '', 'no_credential', undefined],
    ['empty key', 'SSWS', 'no_credential', /environment variable empty/],
    ['empty key after a space', 'Bearer ', 'no_credential', /environment variable empty/],
    ['unknown key', `SSWS ${stranger.key}`, 'bad_credential', /^no policy lists this key$/],
    ['damaged key', `SSWS ${damaged}`, 'bad_credential', /^the key is damaged: its checksum does not fit$/],
    ['expired key', `SSWS ${oldKey.key}`, 'bad_credential', /^this key expired on 2026-11-21$/],
    ['expired policy', `SSWS ${oldPolicy.key}`, 'policy_expired', /^it expired on 2026-10-31$/],
    ['key of two clients', `SSWS ${shared.key}`, 'bad_credential', /^no policy lists this key$/],
    ['Okta token', `SSWS 00${'x'.repeat(40)}`, 'bad_credential', /start with ngk_/],
    ['failed token call', 'Bearer undefined', 'bad_credential', /token call failed/],
    ['failed token call, Python', 'Bearer None', 'bad_credential', /token call failed/],
    ['failed token call, Java', 'Bearer null', 'bad_credential', /word "null".*token call failed/],
    ['failed token call, Go', 'SSWS nil', 'bad_credential', /word "nil".*token call failed/],
    ['a scheme behind another', 'Token Basic x', 'bad_credential', /neither SSWS nor Bearer/],
    ['object', 'SSWS [object Object]', 'bad_credential', /an object was sent/],
    ['promise', 'SSWS [object Promise]', 'bad_credential', /did not wait/],
    ['no scheme', good.key, 'bad_credential', /without a scheme/],
    ['no space', `Bearer${good.key}`, 'bad_credential', /a space belongs/],
    ['Basic', `Basic ${good.key}`, 'bad_credential', /the scheme Basic is not accepted/],
    ['unknown scheme', `Token ${good.key}`, 'bad_credential', /neither SSWS nor Bearer/],
    ['two keys', `SSWS ${good.key}, SSWS ${second.key}`, 'bad_credential', /53 characters/],
    ['inherited name', 'SSWS __proto__', 'bad_credential', /53 characters/]
  ]
  for (const [name, header, code, cause] of table) {
    const result = index.identify(header, NOW)
    if (!isRejection(result)) { t.fail(`${name} was accepted`); continue }
    t.equal(result.code, code, name)
    if (cause === undefined) t.same(result.causes, [], name)
    else t.match(result.causes[0], cause, name)
    const shown = JSON.stringify(result.causes)
    t.notMatch(shown, /portal|former|"one|two/, `${name}: names no client`)
    for (const { key } of [good, second, oldKey, oldPolicy, shared, stranger]) t.notOk(JSON.stringify(result).includes(key.slice(4, 20)), `${name}: repeats no key`)
  }
  const detail = (key: string): unknown => (index.identify(`SSWS ${key}`, NOW) as { detail?: string }).detail
  t.equal(detail(stranger.key), `unknown key ${stranger.sha256.slice(0, 8)}`, 'the audit log learns which')
  t.equal(detail(oldKey.key), `key ${oldKey.sha256.slice(0, 8)} of client portal has expired`)
})

t.test('no text but a listed key is ever a client', async t => {
  const texts = fc.oneof(fc.string(), fc.string().map(text => `SSWS ${text}`), fc.uint8Array({ minLength: 32, maxLength: 32 }).map(seed => `Bearer ${newKey(() => seed).key}`))
  t.doesNotThrow(() => fc.assert(fc.property(texts, text => isRejection(index.identify(text, NOW)))))
})

t.test('an index refuses what is ambiguous', async t => {
  t.same(conflicts, [{ keyId: shared.sha256.slice(0, 8), clients: ['one', 'two'] }])
  t.throws(() => buildClientIndex([{ client: 'a', keys: [] }, { client: 'a', keys: [] }]), /occurs twice/)
  for (const sha256 of ['ABC', `${good.sha256}0`, `0${good.sha256}`, `${good.sha256}\n`]) t.throws(() => buildClientIndex([{ client: 'a', keys: [{ sha256 }] }]), /no SHA-256/)
  t.throws(() => buildClientIndex([{ client: 'a', networks: ['10.0.0.1/8'], keys: [] }]), /beyond its prefix/)
  const twice = buildClientIndex([{ client: 'a', keys: [{ sha256: hashKey(good.key) }, { sha256: good.sha256, expiresAt: NOW }] }])
  t.match(twice.index.identify(`SSWS ${good.key}`, NOW), { code: 'bad_credential' }, 'listed twice: the earlier end counts')
})

t.test('networks: absent is any, empty is none, an unknown client is refused', async t => {
  const client = (id: string) => ({ id, keyId: '', method: 'apiKey' })
  t.equal(index.allows(client('portal'), '10.1.2.3'), true)
  t.equal(index.allows(client('portal'), '::ffff:10.1.2.3'), true)
  t.equal(index.allows(client('portal'), '11.1.2.3'), false)
  t.equal(index.allows(client('former'), '10.1.2.3'), false)
  t.equal(index.allows(client('one'), '203.0.113.9'), true)
  t.equal(index.allows(client('nobody'), '10.1.2.3'), false)
  const joined = buildClientIndex([{ client: 'a', networks: ['0.0.0.0/1', '28.0.0.0/8'], keys: [] }, { client: 'b', networks: ['0.0.0.0/12', '8.0.0.0/8'], keys: [] }]).index
  t.same([joined.allows(client('a'), '120.0.0.1'), joined.allows(client('b'), '120.0.0.1'), joined.allows(client('b'), '8.1.1.1')], [true, false, true], 'lists that look alike are two')
})

t.test('repeated failures wait longer and longer, by address, and are forgotten', async t => {
  const failures = createFailures()
  let now = NOW
  for (let i = 0; i < 30; i++) t.equal(failures.failed('192.0.2.1', now), undefined, 'a client being set up')
  const waits: number[] = []
  for (let i = 0; i < 12; i++) {
    const refused = failures.failed('192.0.2.1', now)
    if (refused?.wait === undefined) return t.fail('no wait')
    t.equal(refused.code, 'too_many_failures')
    waits.push(refused.wait.untilMs - now)
    now = refused.wait.untilMs
    t.equal(failures.failed('192.0.2.1', now), undefined, 'after the wait the failure itself is answered')
  }
  t.same(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300].map(seconds => seconds * 1000))
  t.equal(failures.failed('192.0.2.2', now), undefined, 'another address is not concerned')
  t.equal(failures.failed('192.0.2.1', now + 300_000 + 900_001), undefined, 'forgotten after 15 quiet minutes')
  t.equal(failures.failed('192.0.2.1', now - DAY), undefined, 'a clock that went back locks nobody out')
})

t.test('a source is forgotten when it has been quiet, or when the clock went back behind it', async t => {
  const after = (quietMs: number): (string | undefined)[] => {
    const failures = createFailures()
    for (let i = 0; i < 29; i++) failures.failed('192.0.2.1', NOW)
    return [failures.failed('192.0.2.1', NOW + quietMs), failures.failed('192.0.2.1', NOW + quietMs)].map(refused => refused?.code)
  }
  t.same(after(900_000), [undefined, 'too_many_failures'], '15 minutes are not enough')
  t.same(after(900_001), [undefined, undefined], 'a moment more is')
  t.same(after(-1), [undefined, undefined], 'the clock went back')
  t.same(['a:b', '192.0.2.1', '2001:db8::1'].map(networkOf), ['a:b', '192.0.2.1', '20010db800000000'])
})

t.test('the memory of failures is bounded, and IPv6 counts by /64', async t => {
  const failures = createFailures(100)
  for (let i = 0; i < 1000; i++) failures.failed(`192.0.2.${i % 250}-${i}`, NOW)
  t.equal(failures.size, 100)
  const six = createFailures()
  for (let i = 0; i < 30; i++) six.failed(`2001:db8:0:7::${i.toString(16)}`, NOW)
  t.equal(six.size, 1)
  t.match(six.failed('2001:db8:0:7:ffff::1', NOW), { code: 'too_many_failures' })
  t.equal(six.failed('2001:db8:0:8::1', NOW), undefined)
})
