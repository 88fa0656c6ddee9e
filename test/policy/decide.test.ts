import t from 'tap'
import type { Call, CallBody, Decision } from '../../src/domain/decision.js'
import { createCatalog } from '../../src/okta/catalog.js'
import { resolveCall } from '../../src/policy/call.js'
import type { CompiledPolicy } from '../../src/policy/compile.js'
import { decide } from '../../src/policy/decide.js'
import { explain, explanationLines, shortExplanation } from '../../src/policy/explain.js'
import { leafPaths, parseBodyPath, formatBodyPath } from '../../src/policy/body-path.js'
import { parseStrictJson, type StrictBody } from '../../src/policy/json.js'
import { loadPolicies } from '../../src/policy/load.js'
import { compilePattern, matches } from '../../src/policy/pattern.js'
import { requestText } from '../../src/policy/request-text.js'

const catalog = createCatalog()
const U = '/api/v1/users/00u1abcdefghijklmnop'
const HEAD = `version: 1\nclient: c\nauthenticate: [{ apiKey: { sha256: ${'a'.repeat(64)} } }]\n`

function policyOf (yaml: string): CompiledPolicy {
  const set = loadPolicies([{ path: 'policies/c.yaml', text: HEAD + yaml }], createCatalog, 0)
  const errors = set.problems.filter(problem => problem.severity === 'error')
  if (errors.length > 0) throw new Error(JSON.stringify(errors))
  return set.clients.get('c')!
}

function callOf (request: string, body?: CallBody): Call {
  const [method, target] = request.split(' ') as [string, string]
  const resolved = resolveCall(catalog, method, target, body)
  if (resolved.kind !== 'call') throw new Error(resolved.why)
  return resolved.call
}

const json = (value: unknown): CallBody => ({ kind: 'json', value })
const ABSENT: CallBody = { kind: 'absent' }

/** `allow <rule name>`, `allow? <reason>` when observed, `deny <reason>: <first condition>` or `undecided` */
function said (decision: Decision): string {
  switch (decision.effect) {
    case 'undecided': return 'undecided'
    case 'allow': return decision.wouldDeny === undefined ? `allow ${decision.rule.name}` : `allow? ${decision.wouldDeny} by ${decision.rule.name} (${decision.rule.credential})`
    case 'deny': return `deny ${decision.reason}${decision.attempts.map(attempt => `: ${attempt.condition}`).join('')}`
  }
}

type Row = readonly [request: string, body: CallBody | undefined, expected: string]

function table (name: string, yaml: string, rows: readonly Row[]): void {
  t.test(name, async t => {
    const policy = policyOf(yaml)
    for (const [request, body, expected] of rows) {
      t.equal(said(decide(policy, callOf(request, body))), expected, `${request} ${JSON.stringify(body) ?? ''}`)
    }
  })
}

table('path parameters', `
allow:
  - { request: "PUT /api/v1/groups/{g}/users/{u}", as: listed, where: { g: [00g1] } }
  - { operation: assignUserToGroup, as: pattern, where: { userId: { pattern: 'a|b' } } }
`, [
  ['PUT /api/v1/groups/00g1/users/x', undefined, 'allow listed'],
  ['PUT /api/v1/groups/00g2/users/b', undefined, 'allow pattern'],
  ['PUT /api/v1/groups/00g2/users/ab', undefined, 'deny where: where.g: where.userId'],
  ['PUT /api/v1/groups/00g2/users/xb', undefined, 'deny where: where.g: where.userId'],
  ['DELETE /api/v1/groups/00g1/users/x', undefined, 'deny no_rule']
])

table('the query that a request line states is required exactly', `
allow: [{ request: "POST /api/v1/users/{id}/lifecycle/activate?sendEmail=false", as: activate }]
`, [
  [`POST ${U}/lifecycle/activate?sendEmail=false`, undefined, 'allow activate'],
  [`POST ${U}/lifecycle/activate?send%45mail=fals%65`, undefined, 'allow activate'],
  [`POST ${U}/lifecycle/activate`, undefined, 'deny query: query.sendEmail is missing'],
  [`POST ${U}/lifecycle/activate?sendEmail=true`, undefined, 'deny query: query.sendEmail has another value'],
  [`POST ${U}/lifecycle/activate?sendEmail=false&sendEmail=true`, undefined, 'deny query: query.sendEmail is repeated'],
  [`POST ${U}/lifecycle/activate?sendEmail=false&x=1`, undefined, 'deny query: query: x is not allowed'],
  [`POST ${U}/lifecycle/activate?sendEmail=false;x=1`, undefined, 'deny query: query: ; [ or ] can be read in several ways'],
  [`POST ${U}/lifecycle/activate?sendEmail=false&`, undefined, 'deny query: query:  is not allowed']
])

table('without a word about the query only documented parameters may be present', `
allow: [{ operation: listUsers, as: list }]
`, [
  ['GET /api/v1/users?limit=1&limit=2&q=a+b', undefined, 'allow list'],
  ['GET /api/v1/users?debug=1', undefined, 'deny query: query: debug is not documented for this operation'],
  ['GET /api/v1/users?q[]=1', undefined, 'deny query: query: ; [ or ] can be read in several ways'],
  ['GET /api/v1/users?q=a;b', undefined, 'deny query: query: ; [ or ] can be read in several ways'],
  ['GET /api/v1/users?__proto__=1', undefined, 'deny query: query: __proto__ is not documented for this operation']
])

table('query conditions', `
allow:
  - { operation: listUsers, as: paged, query: { require: { limit: { pattern: '[1-9][0-9]{0,2}' } }, allow: { after: any, q: [x, y] } } }
  - { operation: listGroups, as: open, query: any }
  - { operation: getUser, as: bare, query: {} }
`, [
  ['GET /api/v1/users?limit=20&after=1&q=y', undefined, 'allow paged'],
  ['GET /api/v1/users?limit=2000', undefined, 'deny query: query.limit has another value'],
  ['GET /api/v1/users?limit=20&q=z', undefined, 'deny query: query.q has another value'],
  ['GET /api/v1/users?limit=20&after=1&after=2', undefined, 'deny query: query.after is repeated'],
  ['GET /api/v1/users?after=1', undefined, 'deny query: query.limit is missing'],
  ['GET /api/v1/groups?a[]=1;b&a[]=2', undefined, 'allow open'],
  [`GET ${U}?expand=blocks`, undefined, 'deny query: query: expand is not allowed'],
  [`GET ${U}`, undefined, 'allow bare']
])

table('a request rule admits its own spelling, an operation rule both', `
allow:
  - { request: POST /api/v1/authn/, as: slash, query: {} }
  - { operation: authn, as: both, query: { require: { x: any } } }
`, [
  ['POST /api/v1/authn/', undefined, 'allow slash'],
  ['POST /api/v1/authn', undefined, 'deny query: request: the path is spelled in another way: query.x is missing'],
  ['POST /api/v1/authn?x=1', undefined, 'allow both'],
  ['POST /api/v1/authn/?x=1', undefined, 'allow both']
])

table('bodies tell rules apart, in order', `
allow:
  - { operation: updateUser, as: name, body: { only: [profile.login], require: { profile.login: any } } }
  - { operation: updateUser, as: question, body: { only: ['credentials.recovery_question.*'] } }
  - { operation: updateUser, as: groups, body: { only: ['groupIds[]', groupIds], require: { 'groupIds[]': [a, b] } } }
  - { operation: updateUser, as: schema, body: { schema: { type: object, required: [z], properties: { z: { type: string, pattern: '^x+$' } }, additionalProperties: false } } }
`, [
  [`POST ${U}`, undefined, 'undecided'],
  [`POST ${U}?debug=1`, undefined, 'deny query: query: debug is not documented for this operation: query: debug is not documented for this operation: query: debug is not documented for this operation: query: debug is not documented for this operation'],
  [`POST ${U}`, json({ profile: { login: 'a' } }), 'allow name'],
  [`POST ${U}`, ABSENT, 'allow question'],
  [`POST ${U}`, json({}), 'allow question'],
  [`POST ${U}`, json({ credentials: { recovery_question: { answer: 'x', deep: [{ a: 1 }] } } }), 'allow question'],
  [`POST ${U}`, json({ groupIds: ['a', 'b'] }), 'allow groups'],
  [`POST ${U}`, json({ z: 'xx' }), 'allow schema'],
  [`POST ${U}`, json({ groupIds: ['a', 'c'] }), 'deny body: body: groupIds[] is not in only: body: groupIds[] is not in only: body.require.groupIds[] has another value: body.schema'],
  [`POST ${U}`, json({ 'profile.login': 'a' }), 'deny body: body: ["profile.login"] is not in only: body: ["profile.login"] is not in only: body: ["profile.login"] is not in only: body.schema'],
  [`POST ${U}`, json([]), 'deny body: body: the whole body is not in only: body: the whole body is not in only: body: the whole body is not in only: body.schema'],
  [`POST ${U}`, json({ credentials: { recovery_question: {} } }), 'deny body: body: credentials.recovery_question is not in only: body: credentials.recovery_question is not in only: body: credentials.recovery_question is not in only: body.schema'],
  [`POST ${U}`, { kind: 'unjudgeable', why: 'the body is not UTF-8' }, 'deny body: body: the body is not UTF-8: body: the body is not UTF-8: body: the body is not UTF-8: body: the body is not UTF-8']
])

const MISSING = 'body.require.a is missing: body.require.b[].c is missing: body.require.d.* is missing'
table('what a body has to hold: values at a path, all of them, and one at least', `
allow:
  - { operation: updateUser, as: pattern, body: { require: { a: { pattern: 'x.*' } } } }
  - { operation: updateUser, as: values, body: { require: { 'b[].c': [1, null, y] } } }
  - { operation: updateUser, as: subtree, body: { require: { 'd.*': any } } }
`, [
  [`POST ${U}`, ABSENT, `deny body: ${MISSING}`],
  [`POST ${U}`, json({}), `deny body: ${MISSING}`],
  [`POST ${U}`, json({ a: 'xy' }), 'allow pattern'],
  ...[5, null, ['x'], { x: 'x' }, 'yx', 'x\n'].map((a): Row => [`POST ${U}`, json({ a }), 'deny body: body.require.a has another value: body.require.b[].c is missing: body.require.d.* is missing']),
  ...[[{ c: 1 }, { c: null }], [{ c: 'y' }, {}]].map((b): Row => [`POST ${U}`, json({ b }), 'allow values']),
  ...[[{ c: 1 }, { c: 2 }], [{ c: '1' }], [{ c: [1] }], [{}, { c: 'null' }]].map((b): Row => [`POST ${U}`, json({ b }), 'deny body: body.require.a is missing: body.require.b[].c has another value: body.require.d.* is missing']),
  ...[[], [{}], { c: 1 }, 'c', [['c']]].map((b): Row => [`POST ${U}`, json({ b }), `deny body: ${MISSING}`]),
  ...[{ x: null }, [0], { x: {} }].map((d): Row => [`POST ${U}`, json({ d }), 'allow subtree']),
  ...[{}, [], 's', 5, null, true].map((d): Row => [`POST ${U}`, json({ d }), `deny body: ${MISSING}`])
])

table('what a body may hold: every item counts, and null is a leaf', `
allow: [{ operation: updateUser, as: only, body: { only: [a, 'x[].a', 's.*', '["k.k"]'] } }]
`, [
  ...[{ a: null }, { x: [{ a: 1 }, { a: [].length }] }, { s: [1, { deep: 2 }] }, { 'k.k': 1 }].map((body): Row => [`POST ${U}`, json(body), 'allow only']),
  [`POST ${U}`, json({ b: null }), 'deny body: body: b is not in only'],
  [`POST ${U}`, json({ x: [{ a: 1 }, { b: 1 }] }), 'deny body: body: x[].b is not in only'],
  [`POST ${U}`, json({ a: { b: 1 } }), 'deny body: body: a.b is not in only'],
  [`POST ${U}`, json({ k: { k: 1 } }), 'deny body: body: k.k is not in only'],
  [`POST ${U}`, json({ s: 1 }), 'deny body: body: s is not in only'],
  [`POST ${U}`, json(null), 'deny body: body: the whole body is not in only'],
  [`POST ${U}`, json({ ['k'.repeat(100)]: 1 }), `deny body: body: ${'k'.repeat(100)} is not in only`],
  [`POST ${U}`, json({ ['k'.repeat(101)]: 1 }), `deny body: body: ${'k'.repeat(99)}… is not in only`]
])

table('a schema wants a body, and says where it fails', `
allow: [{ operation: updateUser, as: schema, body: { schema: { type: object, properties: { z: { type: string } } } } }]
`, [
  [`POST ${U}`, ABSENT, 'deny body: body.schema: there is no body'],
  [`POST ${U}`, json({ z: 5 }), 'deny body: body.schema/z'],
  [`POST ${U}`, json([]), 'deny body: body.schema'],
  [`POST ${U}`, json({ z: 'x' }), 'allow schema']
])

table('the first required parameter that is missing is named', `
allow: [{ operation: listUsers, as: two, query: { require: { limit: any, after: any } } }]
`, [
  ['GET /api/v1/users?limit=1', undefined, 'deny query: query.after is missing'],
  ['GET /api/v1/users?after=1', undefined, 'deny query: query.limit is missing'],
  ['GET /api/v1/users', undefined, 'deny query: query.limit is missing'],
  ['GET /api/v1/users?after=1&limit=1', undefined, 'allow two']
])

table('a deny of values takes what Okta may take for them', `
allow: [{ operation: updateUser, as: update }]
deny:
  - { operation: updateUser, body: { require: { a: [null], b: ['1'] } } }
  - { operation: updateUser, body: { require: { 'c.*': any } } }
  - { operation: updateUser, body: { require: { d: { pattern: '1|true' } } } }
  - { operation: updateUser, body: { require: { 'e.f': [x] } } }
`, [
  ...[{ a: null, b: 1 }, { a: [null], b: '1' }, { a: {}, b: [2, 1] }, { c: { x: 1 } }, { c: [0] }, { d: 1 }, { d: true }, { d: ['2', '1'] }, { d: {} }, { d: [] }, { e: [{ f: 'y' }, { f: 'x' }] }, { e: { f: ['y', 'x'] } }, [{ d: 1 }]].map((body): Row => [`POST ${U}`, json(body), 'deny deny: deny']),
  ...[{ a: null }, { b: '1' }, { a: 'null', b: '1' }, { a: null, b: null }, { a: null, b: '11' }, { c: {} }, { c: [] }, { c: 1 }, { c: 'text' }, { d: null }, { d: '12' }, { e: [{ f: 'y' }] }, { e: 'x' }, { f: 'x' }, {}].map((body): Row => [`POST ${U}`, json(body), 'allow update']),
  [`POST ${U}`, ABSENT, 'allow update']
])

table('a deny that waits for the body delays only what could be allowed', `
allow: [{ operation: updateUser, as: one, where: { id: [one] } }]
deny: [{ operation: updateUser, body: { require: { x: any } } }]
`, [
  ['POST /api/v1/users/two', undefined, 'deny where: where.id'],
  ['POST /api/v1/users/one', undefined, 'undecided'],
  ['POST /api/v1/users/one', json({ x: null }), 'deny deny: deny'],
  ['POST /api/v1/users/one', json({ y: 1 }), 'allow one']
])

table('a rule of another spelling lifts nothing, in an observed policy neither', `
mode: observe
allow: [{ request: POST /api/v1/authn, as: spelled, mode: observe, credential: authnToken }]
`, [
  ['POST /api/v1/authn/', undefined, 'allow? no_rule by observe (none)'],
  ['POST /api/v1/authn', undefined, 'allow spelled']
])

table('a rule that fits without its body waits for the rules before it', `
allow:
  - { operation: updateUser, as: named, where: { id: [one] }, body: { only: [a] } }
  - { operation: updateUser, as: rest }
`, [
  ['POST /api/v1/users/one', undefined, 'undecided'],
  ['POST /api/v1/users/one', json({ b: 1 }), 'allow rest'],
  ['POST /api/v1/users/two', undefined, 'allow rest'],
  ['POST /api/v1/users/one', { kind: 'unjudgeable', why: 'x' }, 'allow rest']
])

table('a deny wins always', `
allow:
  - { operation: deleteUser, as: delete }
  - { operation: updateUser, as: update, query: any }
  - { operation: getUser, as: get, query: any }
  - { operation: authn, as: authn }
deny:
  - deleteUser
  - POST /api/v1/authn
  - { operation: getUser, query: { require: { expand: [blocks] } } }
  - { operation: updateUser, as: no password, body: { require: { credentials.password: any } } }
  - { operation: updateUser, as: no type, body: { require: { 'types[].id': ['7'] } } }
`, [
  [`DELETE ${U}?sendEmail=true`, undefined, 'deny deny: deny'],
  ['POST /api/v1/authn/', undefined, 'deny deny: deny'],
  [`GET ${U}?expand=other`, undefined, 'allow get'],
  [`GET ${U}?expand=blocks&x=1`, undefined, 'deny deny: deny'],
  [`GET ${U}?expand=other&expand=blocks`, undefined, 'deny deny: deny'],
  [`GET ${U}?x=1;expand=blocks`, undefined, 'deny deny: deny'],
  [`POST ${U}`, undefined, 'undecided'],
  [`POST ${U}`, ABSENT, 'allow update'],
  [`POST ${U}`, json({ credentials: { provider: 1 } }), 'allow update'],
  [`POST ${U}`, json({ credentials: { password: { value: 'x' } }, x: 1 }), 'deny deny: deny'],
  [`POST ${U}`, json({ types: [{ id: '1' }, { id: 7 }] }), 'deny deny: deny'],
  [`POST ${U}`, json({ types: { id: '7' } }), 'deny deny: deny'],
  [`POST ${U}`, json({ types: [{ id: ['1'] }] }), 'deny deny: deny'],
  [`POST ${U}`, json({ types: [{ id: '1' }] }), 'allow update'],
  [`POST ${U}`, { kind: 'unjudgeable', why: 'x' }, 'deny deny: deny']
])

table('an observed client is refused only by a deny', `
mode: observe
allow: [{ operation: updateUser, as: update, body: { only: [a] } }, { operation: getUser, as: get, query: {} }]
deny: [deleteUser, { operation: createUser, body: { require: { groupIds: any } } }]
`, [
  [`POST ${U}`, undefined, 'undecided'],
  [`POST ${U}`, json({ b: 1 }), 'allow? body by observe (upstream)'],
  [`GET ${U}?expand=x`, undefined, 'allow? query by observe (upstream)'],
  [`GET ${U}`, undefined, 'allow get'],
  ['POST /api/v1/authn', undefined, 'allow? no_rule by observe (none)'],
  [`DELETE ${U}`, undefined, 'deny deny: deny'],
  ['POST /api/v1/users', undefined, 'undecided'],
  ['POST /api/v1/users', json({ groupIds: [] }), 'deny deny: deny'],
  ['POST /api/v1/users', json({ profile: {} }), 'allow? no_rule by observe (upstream)']
])

table('an observed rule lifts its own conditions only', `
allow:
  - { operation: getUser, as: strict, where: { id: [one] }, query: {} }
  - { operation: getUser, as: trial, mode: observe, query: {} }
  - { request: POST /api/v1/authn, as: spelled, mode: observe, credential: authnToken, body: { only: [a] } }
`, [
  ['GET /api/v1/users/one', undefined, 'allow strict'],
  ['GET /api/v1/users/two', undefined, 'allow trial'],
  ['GET /api/v1/users/two?expand=x', undefined, 'allow? query by trial (upstream)'],
  ['POST /api/v1/authn', json({ b: 1 }), 'allow? body by spelled (authnToken)'],
  ['POST /api/v1/authn/', json({ a: 1 }), 'deny no_rule: request: the path is spelled in another way'],
  [`DELETE ${U}`, undefined, 'deny no_rule']
])

t.test('what the gate keeps for itself is refused, observed or not', async t => {
  const reserved = catalog.operations.find(operation => operation.reserved)!
  const call: Call = { operation: reserved, parameters: reserved.parameters.map(() => 'x'), alias: false, query: [], body: ABSENT }
  t.equal(said(decide(policyOf('mode: observe\nallow: []'), call)), 'deny no_rule')
})

t.test('the same rule answers with the same object', async t => {
  const policy = policyOf('allow: [{ operation: getUser, rateLimit: 30/min }]')
  const first = decide(policy, callOf(`GET ${U}`))
  t.equal(first, decide(policy, callOf('GET /api/v1/users/other')))
  t.same(first, { effect: 'allow', rule: { id: 'c.yaml#0', name: 'getUser', credential: 'upstream', limitPerMinute: 30 } })
  const ruleOf = (yaml: string): object => { const decision = decide(policyOf(yaml), callOf(`GET ${U}`)); return 'rule' in decision ? decision.rule! : decision }
  t.strictSame(Object.keys(ruleOf('allow: [{ operation: getUser }]')), ['id', 'name', 'credential'])
  t.match(ruleOf('allow: [{ operation: getUser, wait: { upToMs: 500 } }]'), { waitMs: 500 })
  t.match(ruleOf('mode: observe\nallow: []'), { id: 'c.yaml#observe' })
  t.match(ruleOf('allow: [{ operation: getUser }]\ndeny: [listUsers, getUser]'), { id: 'c.yaml#deny1' })
  t.match(decide(policyOf('allow: [{ request: POST /api/v1/authn }]'), callOf('POST /api/v1/authn/')), { attempts: [{ failed: 'no_rule' }] })
})

t.test('strict JSON', async t => {
  const TYPE = 'application/json'
  const parse = (text: string | Uint8Array, type: string | undefined = TYPE, encoding?: string) =>
    parseStrictJson(typeof text === 'string' ? Buffer.from(text) : text, type, encoding)
  for (const text of ['{}', ' [1, -0.5e3, true, null, "a\\u00e9\\n\\/"] ', '{"a":{"b":[{}]},"constructor":1,"toString":2}', '"x"', '0', '[0.1, -0.0e5, 1.2345678901234567, 123.450000000000000000000, 1e-300]', '"\\ud83d\\ude00 😀"', '['.repeat(64) + ']'.repeat(64)]) {
    t.same(parse(text), { kind: 'json', value: JSON.parse(text) }, text)
  }
  for (const text of ['{"a":1,"a":1}', '{"x":[{"a":1,"\\u0061":2}]}', '{"__proto__":{}}', '{"a":"\\ud800"}', '{"a":"\\udc00\\ud800"}', '\ufeff{}', '[1,]', '{"a":1,}', '[1]x', '{', '"a', '"\n"', '01', '1.', '.5', '+1', 'NaN', "{'a':1}", '{a:1}', '// c\n{}', '1e999', '9007199254740993', '1.00000000000000001', '1e-400', `1.${'0'.repeat(70)}`, '"\\x"', '"\\u12g4"', 'nul', '[' + '['.repeat(64) + ']'.repeat(65), '\u00a0{}', '  ']) {
    t.match(parse(text), { kind: 'unjudgeable', code: 'bad_body' }, JSON.stringify(text))
  }
  t.match(parse(Uint8Array.of(0x22, 0xff, 0x22)), { why: 'the body is not UTF-8' })
  t.match(parse(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22)), { why: 'the body is not UTF-8' }, 'a surrogate in UTF-8')
  t.same(parse(''), ABSENT)
  t.same(parse('', undefined), ABSENT, 'an empty body needs no type')
  for (const type of ['Application/JSON ; charset="UTF-8"', 'application/json;charset=utf-8', 'application/json; okta-response=omitCredentials']) t.match(parse('{}', type), { kind: 'json' }, type)
  for (const type of [undefined, '', 'text/json', 'application/json; charset=utf-16', 'application/json, text/plain', 'application/json\ttext/plain', 'application/jsonx', 'application/merge-patch+json', 'text/plain; application/json']) {
    t.match(parseStrictJson(Buffer.from('{}'), type, undefined), { kind: 'unjudgeable', code: 'unsupported_body' }, String(type))
  }
  t.match(parse('{}', TYPE, 'gzip'), { code: 'unsupported_body' })
  t.match(parse('{}', TYPE, 'identity'), { kind: 'json' })
  t.equal(({} as Record<string, unknown>).polluted, undefined)
})

t.test('strict JSON: what is said of a body, and the last that is good', async t => {
  const parse = (text: string | Uint8Array, type = 'application/json', encoding?: string): StrictBody => parseStrictJson(typeof text === 'string' ? Buffer.from(text) : text, type, encoding)
  const [number, half, end] = [/different parsers/, /half a surrogate pair/, /ends in the middle/]
  const said: [string, RegExp][] = [
    ['\ufeff{}', /byte order mark/], ['{"__proto__":1}', /key __proto__/], ['{"a":1,"a":2}', /key twice/], ['[1]x', /something after/], ['{}{}', /something after/],
    ['', /^$/], [' ', end], ['{', end], ['{"a', end], ['{"a"', end], ['{"a":', end], ['{"a":1', end], ['[', end], ['[1', end], ['[1,', end], ['"\\', /character 2/], ['"\\"', end], ['"a\\n', end], ['-', /character 1/], ['tru', /character 1/], ['truth', /character 1/], ['falsy', /character 1/], ['nil', /character 1/],
    ['{a', /character 2/], ['{ "a" 1}', /character 7/], ['{"a":1 "b"', /character 8/], ['[1 2', /character 4/], ['[1,]', /character 4/], ['{"a":1,}', /character 8/], ['"\u001f"', /character 2/], ['"a\\n\u001f"', /character 5/], ['"\\q"', /character 2/], ['"\\u00"', /character 2/], ['"\\u00x0"', /character 2/], ['"\\u 123"', /character 2/], ['"\\u123"4', /character 2/], ['"\\toString"', /^$/], ['"\\constructor"', /character 2/],
    ['9007199254740992', number], ['-9007199254740992', number], ['1e999', number], ['-1e999', number], ['1e-324', number], ['0.000', /^$/], ['-0', /^$/], ['0e5', /^$/], ['123456789012345678e-5', number], ['1.23456789012345678', number], ['0.00000012345678901234567', /^$/], ['1.2345678901234567e-10', /^$/], ['"a b"', /^$/],
    [`0.${'0'.repeat(62)}`, /^$/], [`0.${'0'.repeat(63)}`, number], [`1.${'0'.repeat(62)}`, /^$/], [`1.${'0'.repeat(63)}`, number], ['1E+2', /^$/], ['1e+', /something after/], ['-01', /something after/],
    ['"\\ud800"', half], ['"\\ud800x"', half], ['"\\udc00"', half], ['"x\\udc00\\ud800"', half], ['"\\ud83d\\ude00"', /^$/], ['"\\uD83D\\uDE00\\ud83d"', half],
    ['['.repeat(65), /deeper than 64/], ['{"a":'.repeat(65), /deeper than 64/], ['[{"a":'.repeat(32) + '[', /deeper than 64/], ['{"a":'.repeat(64) + '1' + '}'.repeat(64), /^$/], ['[{"a":'.repeat(32) + '1' + '}]'.repeat(32), /^$/], ['[[],[],{},[[]]]', /^$/]
  ]
  for (const [text, why] of said) {
    const body = parse(text)
    t.match(body.kind === 'unjudgeable' ? body.why : '', why, text.slice(0, 40))
    if (body.kind === 'json') t.same(body.value, JSON.parse(text), text.slice(0, 40))
  }
  t.strictSame(parse('9007199254740991'), { kind: 'json', value: 9007199254740991 })
  t.strictSame(parse(' \t\r\n[ \t\r\n1 \t\r\n, \t\r\n{ \t\r\n"a" \t\r\n: \t\r\n2 \t\r\n} \t\r\n] \t\r\n'), { kind: 'json', value: [1, { a: 2 }] })
  t.strictSame(parse('"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uaBcD\u007f\u0020"'), { kind: 'json', value: '"\\/\b\f\n\r\tA\uabcd\u007f ' })
  for (const space of ['\u000b', '\u000c', '\u00a0', '\u2028', '\u0000']) t.match(parse(`${space}1`), { why: /character 1/ }, `U+${space.charCodeAt(0).toString(16)}`)
  for (const bytes of [[0xef, 0xbb, 0xbf, 0x31], [0xef, 0xbb, 0xbf]]) t.match(parse(Uint8Array.from(bytes)), { code: 'bad_body', why: /byte order mark/ })
  for (const bytes of [[0xef, 0xbb], [0xef, 0xbc, 0xbf], [0x22, 0xef, 0xbb, 0xbe, 0x22], [0xbb, 0xbf], [0x22, 0xbb, 0xbf]]) t.notMatch(parse(Uint8Array.from(bytes)), { why: /byte order mark/ })
  t.strictSame(parse('"\ufeff"'), { kind: 'json', value: '\ufeff' }, 'within a text it is a character')
  for (const type of ['application/json ', 'application/json\t;\tcharset=utf-8\t', 'application/json;charset="utf-8";okta-response="omitCredentials, omitLinks"', 'APPLICATION/JSON']) t.match(parse('1', type), { kind: 'json' }, type)
  for (const type of [' application/json', 'application/json;', 'application/json; charset', 'application/json; charset=utf-8x', 'application/json; charset="utf-8', 'application/json; okta-response=', 'application/json; okta-response=a1', 'application/json; okta-response=""', 'application/json; v=1', 'xapplication/json', 'application/json\n']) t.match(parse('1', type), { code: 'unsupported_body', why: /Content-Type/ }, JSON.stringify(type))
  for (const [encoding, kind] of [['Identity', 'json'], ['', 'unjudgeable'], ['identity, gzip', 'unjudgeable'], ['gzip,identity', 'unjudgeable']]) t.match(parse('1', 'application/json', encoding), { kind }, String(encoding))
  t.match(parse('1', 'application/json', 'br'), { why: 'the body is compressed', code: 'unsupported_body' })
  t.strictSame(parse('', 'text/plain', 'gzip'), ABSENT)
})

t.test('a request that reaches no rule: which, and why', async t => {
  t.match(resolveCall(catalog, 'GET', '/api/v1/users//x', undefined), { kind: 'target', why: /^[a-z].* .*/ })
  t.match(resolveCall(catalog, 'GET', '/nowhere', undefined), { kind: 'unknown_path', why: 'no operation is known under /nowhere' })
  t.match(resolveCall(catalog, 'PATCH', '/api/v1/users', undefined), { kind: 'unknown_method', why: /^\/api\/v1\/users knows [A-Z]+, [A-Z]+, not PATCH$/ })
  t.match(resolveCall(catalog, 'GET', `${U}?a=b`, ABSENT), { kind: 'call', call: { operation: { id: 'getUser' }, parameters: ['00u1abcdefghijklmnop'], alias: false, query: [{ name: 'a', value: 'b' }], body: ABSENT } })
  t.equal(requestText('GET', '/a', []), 'GET /a')
  t.equal(requestText('GET', '/a', [{ name: 'a b', value: 'c&d', ambiguous: false }, { name: 'e', value: '%zz', ambiguous: true }]), 'GET /a?a%20b=c%26d&e=%zz')
})

t.test('body paths', async t => {
  t.same(leafPaths({ profile: { login: 'x', tags: [], none: null }, groupIds: ['a', 'b'], list: [{ a: 1 }, { b: {} }], 'a.b': 1, 'c[]': 2, '': 3, '*': 4 }),
    ['profile.login', 'profile.tags', 'profile.none', 'groupIds[]', 'list[].a', 'list[].b', '["a.b"]', '["c[]"]', '[""]', '["*"]'])
  t.same([leafPaths({}), leafPaths([]), leafPaths(null), leafPaths([1]), leafPaths([[{ a: 1 }]])], [[], [''], [''], ['[]'], ['[][].a']])
  t.equal(leafPaths(Array.from({ length: 50 }, (_, i) => ({ [`k${i}`]: 1 })), 10).length, 10)
  for (const text of ['a.b', 'a[].b', 'a.*', '["a.b"].c', 'a["x\\"y"][]', '[].a', 'a-b_c:d.e']) {
    const steps = parseBodyPath(text)
    t.equal(typeof steps === 'string' ? steps : formatBodyPath(steps), text)
  }
  t.same([leafPaths('text'), leafPaths(5), leafPaths(true)], [[''], [''], ['']])
  const wrong: readonly (readonly [string, RegExp])[] = [['a.*.b', /^has something after \.\*$/], ['a.b.*.c', /^has something after/], ['["\\q"]', /no JSON string$/], ['.a', /^starts with a dot$/], ['a[]b', /^needs a dot/], ['', /^is empty$/], ['a..b', /empty key/]]
  for (const [text, why] of wrong) t.match(parseBodyPath(text), why, text)
  t.same(parseBodyPath('a["b.c"][].d.*'), [{ kind: 'key', key: 'a' }, { kind: 'key', key: 'b.c' }, { kind: 'items' }, { kind: 'key', key: 'd' }, { kind: 'subtree' }])
  for (const text of ['', '.a', 'a..b', 'a.', 'a.*.b', 'a[0]', 'a[', 'a]', '[]a', 'a*', '["a]', '["\\q"]']) t.type(parseBodyPath(text), 'string', text)
})

t.test('patterns match whole values in linear time, or are refused', async t => {
  const compiled = compilePattern('a|b[0-9]+')
  if (typeof compiled === 'string') throw new Error(compiled)
  t.same(['a', 'b12', 'ab1', 'xa', 'a\n', ''].map(value => matches(compiled, value)), [true, true, false, false, false, false])
  for (const source of ['(a+)+', '(a*b)*', '(', 'a)|(?:b', '(?=a)', '(?<!a)b', '(a)\\1', '[z-a]', 'a{2,1}', '\\Aa', '(?i)a', 'a{', '\\_']) t.type(compilePattern(source), 'string', source)
  t.match(compilePattern('('), /^is not a regular expression \((?!Invalid)[^\n]+\)$/)
  t.match(compilePattern('(?=a)'), /^is not a pattern of linear time: RE2 refuses it \([^\n]+\)$/)
  t.match(compilePattern('(a+)+'), /^can backtrack catastrophically/)
})

t.test('explain shows every rule tried, on lines, and the refusal names no value', async t => {
  const text = HEAD + `allow:
  - { request: "PUT /api/v1/groups/{g}/users/{u}", as: engineers, where: { g: [00gsecret] } }
  - { operation: assignUserToGroup, as: ours, where: { userId: { pattern: '00u.{5}' } }, rateLimit: 5/min }
`
  const set = loadPolicies([{ path: 'policies/c.yaml', text }], createCatalog, 0, { keepWritten: true })
  const policy = set.clients.get('c')!
  const refused = explain(policy, set.catalog, 'PUT', '/api/v1/groups/00gx/users/nobody', undefined, set.written)
  t.same(explanationLines(refused), [
    'PUT /api/v1/groups/00gx/users/nobody',
    '  is      assignUserToGroup  (PUT /api/v1/groups/{groupId}/users/{userId}; groupId=00gx, userId=nobody)',
    `  client  c  (c.yaml, version ${policy.hash}, enforce, upstream default)`,
    '  ✗ c.yaml#0  engineers  no: where.g  [policies/c.yaml:5]',
    '  ✗ c.yaml#1  ours  no: where.userId  [policies/c.yaml:6]',
    'REFUSED: where'
  ])
  t.same(shortExplanation(refused.decision!), ['rule "engineers": where.g', 'rule "ours": where.userId'])
  t.notMatch(JSON.stringify(shortExplanation(refused.decision!)), /00gsecret|00u\./)
  t.equal(explanationLines(explain(policy, set.catalog, 'PUT', '/api/v1/groups/00gx/users/00u12345')).at(-1), 'ALLOWED by c.yaml#1 "ours" (credential: upstream, at most 5/min)')
  t.equal(explanationLines(explain(policy, set.catalog, 'GET', '/api/v1/nothing')).at(-1), 'REFUSED: no operation is known under /api/v1/nothing')
  t.equal(explanationLines(explain(policy, set.catalog, 'GET', '/api/v1/users/%2e%2e')).at(-1), 'REFUSED: it escapes . as %2e, which needs no escape')
})
