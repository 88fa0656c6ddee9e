import fc from 'fast-check'
import t from 'tap'
import { remembered } from '../../src/domain/remembered.js'
import { isRejection } from '../../src/domain/rejection.js'
import { MAX_TARGET_BYTES, parseTarget, type Target } from '../../src/domain/target.js'
import { ambiguousTargets } from '../bypass/targets.js'

const aliases = new Set(['/api/v1/authn/'])
const parsed = (raw: string): Target => {
  const target = parseTarget(raw, aliases)
  if (isRejection(target)) throw new Error(`${raw}: ${target.code} ${target.causes.join()}`)
  return target
}
const refusal = (raw: string): string => {
  const target = parseTarget(raw, aliases)
  return isRejection(target) ? `${target.code}: ${target.causes.join()}` : 'accepted'
}

t.test('a target is parsed once, and every part of it is what was received', async t => {
  const cases: Array<[string, string[], Array<[string, string]>]> = [
    ['/api/v1/users', ['api', 'v1', 'users'], []],
    ['/api/v1/users/user@example.com', ['api', 'v1', 'users', 'user@example.com'], []],
    ['/api/v1/users/user%2Btag%40example.com', ['api', 'v1', 'users', 'user+tag@example.com'], []],
    ['/api/v1/authn/', ['api', 'v1', 'authn', ''], []],
    ['/api/v1/users?limit=2&after=x%20y', ['api', 'v1', 'users'], [['limit', '2'], ['after', 'x y']]],
    ['/api/v1/users?q=a+b', ['api', 'v1', 'users'], [['q', 'a b']]],
    ['/api/v1/users?q=a%2Bb', ['api', 'v1', 'users'], [['q', 'a+b']]],
    ['/api/v1/users?filter=status%20eq%20%22ACTIVE%22', ['api', 'v1', 'users'], [['filter', 'status eq "ACTIVE"']]],
    ['/api/v1/users?search=profile.lastName%20eq%20%22M%C3%BCller%22', ['api', 'v1', 'users'], [['search', 'profile.lastName eq "Müller"']]],
    ['/api/v1/users?a&b=&a=1=2', ['api', 'v1', 'users'], [['a', ''], ['b', ''], ['a', '1=2']]],
    ['/api/v1/users?', ['api', 'v1', 'users'], []],
    ['/a%20b/c', ['a b', 'c'], []],
    ['/a?=x&=', ['a'], [['', 'x'], ['', '']]],
    ['/a?q=a+b%21', ['a'], [['q', 'a b!']]],
    ['/a?x?y=1', ['a'], [['x?y', '1']]],
    ['/' + 'a'.repeat(MAX_TARGET_BYTES - 1), ['a'.repeat(MAX_TARGET_BYTES - 1)], []],
    ['/', [''], []]
  ]
  for (const [raw, segments, query] of cases) {
    const target = parsed(raw)
    t.equal(target.raw, raw)
    t.strictSame(target.segments, segments, raw)
    t.strictSame(target.query.map(p => [p.name, p.value]), query, raw)
  }
})

t.test('brackets and semicolons in a query are marked, so that a condition can refuse them', async t => {
  t.strictSame(parsed('/a?x=1;y=2&z=3').query.map(p => p.ambiguous), [true, false])
  t.strictSame(parsed('/a?x[]=1').query.map(p => p.ambiguous), [true])
})

t.test('what another parser could read differently is refused, and the refusal names it', async t => {
  const cases: Array<[string, RegExp]> = [
    ['//api/v1/users', /^double_slash/],
    ['/api//v1/users', /^double_slash/],
    ['/api/v1/users/', /^trailing_slash/],
    ['/api/v1/users/%2F', /encoded slash/],
    ['/api/v1/users/a%5Cb', /backslash/],
    ['/api/v1/users/a\\b', /backslash/],
    ['/api/v1/users/..', /dot segment/],
    ['/api/v1/users/%2e%2e', /needs no escape/],
    ['/api/v1/users/a%00', /control/],
    ['/api/v1/users/a%252Fb', /percent/],
    ['/api/v1/users/a%zz', /% that starts no escape/],
    ['/api/v1/users/a%4', /% that starts no escape/],
    ['/api/v1/users/a%', /% that starts no escape/],
    ['/api/v1/users/a%/b', /% that starts no escape/],
    ['/api/v1/users/%20a', /begins or ends with a space/],
    ['/api/v1/users/a%20/b', /begins or ends with a space/],
    ['/api/v1/users/a b', /holds the character /],
    ['/api/v1/users/a\x7f', /holds a control character/],
    ['/api/v1/users/a%7F', /holds a control character/],
    ['/api/v1/users/a\x1f', /holds a control character/],
    ['/api/v1/users?%ff=1', /query has a bad escape/],
    ['/api/v1/users?%0a=1', /query holds a control/],
    ['/api/v1/users/%c0%af', /UTF-8/],
    ['/api/v1/users/%C3%BC', /outside ASCII/],
    ['/api/v1/users/a;b', /semicolon/],
    ['http://evil.example/api/v1/users', /starts with \//],
    ['*', /starts with \//],
    ['', /starts with \//],
    ['/api/v1/users#x', /character #/],
    ['/api/v1/users?q=%ff', /query has a bad escape/],
    ['/api/v1/users?q=%0a', /query holds a control/],
    ['/' + 'a'.repeat(MAX_TARGET_BYTES), /longer than/]
  ]
  for (const [raw, expected] of cases) {
    t.match(refusal(raw), expected, JSON.stringify(raw.slice(0, 60)))
    t.match(refusal(raw), /^(?:bad_target: .|double_slash: $|trailing_slash: $)/)
  }
})

t.test('every target of the bypass table that is wrong by itself is refused here', async t => {
  const wrong = ambiguousTargets.filter(target => target.refusedBy === 'target')
  t.ok(wrong.length >= 60, `${wrong.length} targets`)
  for (const { raw } of wrong) t.not(refusal(raw), 'accepted', JSON.stringify(raw))
})

t.test('property: what is accepted is what new URL() would leave alone', async () => {
  const piece = fc.oneof(
    fc.constantFrom('/', '//', '.', '..', '%2e', '%2F', '%', '%41', '\\', ';', '?', '&', '=', '#', '@', 'users', 'api', ' ', '\t', 'é', '%40', "'", '|', ':', '*'),
    fc.string({ minLength: 1, maxLength: 3 }))
  fc.assert(fc.property(fc.array(piece, { maxLength: 12 }), pieces => {
    const raw = '/' + pieces.join('')
    const target = parseTarget(raw)
    if (isRejection(target)) return
    const url = new URL(raw, 'http://gate.invalid')
    if (url.host !== 'gate.invalid' || url.pathname !== target.path) throw new Error(`${raw} → ${url.pathname}`)
    if (target.raw !== raw) throw new Error('changed')
  }), { numRuns: 5000 })
})

t.test('what is remembered is bounded in number and length', async t => {
  const asked: string[] = []
  const length = remembered(text => { asked.push(text); return text.length }, 3)
  t.same(['a', 'bb', 'a', 'ccc', 'bb'].map(length), [1, 2, 1, 3, 2])
  t.same(asked, ['a', 'bb', 'ccc'])
  t.equal(length('dddd'), 4, 'one too many: all is forgotten')
  t.equal(length('a'), 1)
  t.same(asked.slice(3), ['dddd', 'a'])
  for (const text of ['x'.repeat(65), 'x'.repeat(65)]) t.equal(length(text), 65)
  t.equal(asked.length, 7, 'a long text is not kept')
})
