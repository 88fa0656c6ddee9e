import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { stringify } from 'yaml'
import type { CallBody, Decision } from '../../src/domain/decision.js'
import { createCatalog, type DeclaredOperation } from '../../src/okta/catalog.js'
import { leafPaths } from '../../src/policy/body-path.js'
import { decide } from '../../src/policy/decide.js'
import { parseStrictJson } from '../../src/policy/json.js'
import { loadPolicies } from '../../src/policy/load.js'
import { covers, disjoint } from '../../src/policy/overlap.js'
import { interpret, type RefAnswer, type RefCall, type RefPolicy, type RefRule } from './reference.js'

const RUNS = 400

// A small world, so that requests meet rules: two real operations, one with an alias, and two that are declared.
const declared: readonly DeclaredOperation[] = [
  { id: 'one', method: 'POST', template: '/zoo/{keeper}/animals/{animal}', query: ['p', 'q'] },
  { id: 'two', method: 'DELETE', template: '/zoo/{keeper}', query: [] }
]
const catalog = createCatalog(declared)
const operations = ['one', 'two', 'authn', 'updateUser'].map(id => catalog.byId(id)!)

const word = fc.constantFrom('a', 'b', 'ab')
const pattern = fc.constantFrom('a', 'a|b', '[ab]{2}', 'b.*', '.{0,1}').map(text => ({ pattern: text }))
const list = fc.uniqueArray(word, { minLength: 1, maxLength: 2 })
const valueTest = fc.oneof(fc.constant('any' as const), list, pattern)
const queryTests = fc.dictionary(fc.constantFrom('p', 'q', 'r'), valueTest, { maxKeys: 2, noNullPrototype: true })
const scalar = fc.constantFrom<unknown>('a', 'b', 'ab', 1, '1', true, 'true', null)
const bodyTest = fc.oneof(fc.constant('any' as const), fc.uniqueArray(scalar, { minLength: 1, maxLength: 2 }), pattern)
const path = fc.constantFrom('x', 'y', 'x.y', 'x[]', 'x.y[]', 'x[].y', 'x[][]', '[].x')
const anyPath = fc.oneof(path, fc.constantFrom('x.*', 'x.y.*', 'x[].*'))

const bodyRequire = fc.dictionary(path, bodyTest, { maxKeys: 2, noNullPrototype: true })
const subtreeRequire = fc.dictionary(anyPath, fc.constant('any' as const), { maxKeys: 2, noNullPrototype: true })
const body = fc.record({ only: fc.option(fc.uniqueArray(anyPath, { maxLength: 4 }), { nil: undefined }), require: fc.oneof(bodyRequire, subtreeRequire) })
  .filter(({ only, require }) => only !== undefined || Object.keys(require).length > 0)

function where (names: readonly string[]) {
  return fc.option(names.length === 0 ? fc.constant({}) : fc.dictionary(fc.constantFrom(...names), fc.oneof(list, pattern), { noNullPrototype: true }), { nil: undefined })
}

const subject = fc.constantFrom(...operations).chain(operation => fc.oneof(
  fc.record({ operation: fc.constant(operation.id), where: where(operation.parameters) }),
  fc.record({
    request: fc.tuple(fc.constantFrom(operation.template, ...operation.aliases), fc.constantFrom('', '', '?p=a', '?p=a&q=b')).map(([template, query]) => {
      return `${operation.method} ${template.replaceAll(/\{(.*?)\}/g, '{my$1}')}${query}`
    }),
    where: where(operation.parameters.map(name => `my${name}`))
  })
))

const hasQuery = (rule: object) => 'request' in rule && String(rule.request).includes('?')

const allowRule: fc.Arbitrary<RefRule> = fc.tuple(
  subject,
  fc.oneof(fc.constant(undefined), fc.constant('any' as const), fc.record({ require: queryTests, allow: queryTests })
    .filter(({ require, allow }) => Object.keys(require).every(name => !Object.hasOwn(allow, name)))),
  fc.option(body, { nil: undefined }),
  fc.constantFrom(undefined, undefined, 'observe' as const)
).map(([rule, query, body, mode]) => ({ ...rule, query: hasQuery(rule) ? undefined : query, body, mode }))

const denyRule: fc.Arbitrary<RefRule> = fc.tuple(
  subject,
  fc.option(queryTests.filter(tests => Object.keys(tests).length > 0), { nil: undefined }),
  fc.option(bodyRequire.filter(tests => Object.keys(tests).length > 0), { nil: undefined })
).map(([rule, query, body]) => ({
  ...rule,
  query: query === undefined || hasQuery(rule) ? undefined : { require: query },
  body: body === undefined ? undefined : { require: body }
}))

const policies: fc.Arbitrary<RefPolicy> = fc.record({
  mode: fc.constantFrom('enforce' as const, 'enforce' as const, 'observe' as const),
  allow: fc.array(allowRule, { maxLength: 5 }),
  deny: fc.array(denyRule, { maxLength: 2 })
})

const json = fc.letrec(tie => ({
  value: fc.oneof({ maxDepth: 3 }, scalar, fc.array(tie('value'), { maxLength: 2 }), fc.dictionary(fc.constantFrom('x', 'y'), tie('value'), { noNullPrototype: true }))
})).value

const bodies: fc.Arbitrary<CallBody> = fc.oneof(
  fc.constant({ kind: 'absent' } as const),
  fc.constant({ kind: 'unjudgeable', why: 'why' } as const),
  json.map(value => ({ kind: 'json', value }) as const),
  json.map(value => ({ kind: 'json', value: { x: value } }) as const)
)

const calls: fc.Arbitrary<RefCall> = fc.constantFrom(...operations).chain(operation => fc.record({
  operation: fc.constant(operation),
  parameters: fc.tuple(...operation.parameters.map(() => word)).map(values => values as readonly string[]),
  alias: operation.aliases.length > 0 ? fc.boolean() : fc.constant(false),
  query: fc.array(fc.record({ name: fc.constantFrom('p', 'q', 'r'), value: fc.constantFrom('a', 'b', 'ab', ''), ambiguous: fc.constantFrom(false, false, false, true) }), { maxLength: 2 }),
  body: bodies
}))

function policyText (policy: RefPolicy): string {
  return stringify(JSON.parse(JSON.stringify({
    version: 1, client: 'c', authenticate: [{ apiKey: { sha256: 'a'.repeat(64) } }], ...policy
  })), { aliasDuplicateObjects: false })
}

function compiled (policy: RefPolicy) {
  const text = policyText(policy)
  const set = loadPolicies([{ path: 'c.yaml', text }], () => catalog, 0)
  return { policy: set.clients.get('c')!, errors: set.problems.filter(problem => problem.severity === 'error') }
}

/** A rule that requires what its `only` does not admit is refused at load: not a policy that can decide. */
function isLoadable (errors: readonly { message: string }[]): boolean {
  const [unexpected] = errors.filter(error => !error.message.includes('required but not in only'))
  if (unexpected !== undefined) throw new Error(unexpected.message)
  return errors.length === 0
}

function answerOf (decision: Decision): RefAnswer | 'undecided' {
  switch (decision.effect) {
    case 'undecided': return 'undecided'
    case 'deny': return { deny: decision.reason }
    case 'allow': return decision.wouldDeny !== undefined ? { observed: decision.wouldDeny } : { allow: Number(decision.rule.id.split('#')[1]) }
  }
}

t.test('decide agrees with a slow interpreter of the policy format', async t => {
  let judged = 0
  const seen = new Set<string>()
  fc.assert(fc.property(policies, fc.array(calls, { minLength: 5, maxLength: 25 }), (written, requests) => {
    const { policy, errors } = compiled(written)
    fc.pre(isLoadable(errors))
    for (const request of requests) {
      const expected = interpret(written, request)
      const answer = answerOf(decide(policy, request))
      judged++
      seen.add(Object.entries(expected).map(([kind, value]) => kind === 'allow' ? kind : `${kind} ${value}`).join())
      if (JSON.stringify(answer) !== JSON.stringify(expected)) {
        throw new Error(`${JSON.stringify(answer)} instead of ${JSON.stringify(expected)} for ${JSON.stringify({ ...request, operation: request.operation.id })}\n${policyText(written)}`)
      }
    }
  }), { numRuns: RUNS })
  t.ok(judged > RUNS, `${judged} calls`)
  for (const outcome of ['allow', 'deny deny', 'deny no_rule', 'deny where', 'deny query', 'deny body', 'observed no_rule', 'observed where', 'observed query', 'observed body']) {
    t.ok(seen.has(outcome), `${outcome} came up`)
  }
})

t.test('without its body a call is allowed or denied only as it is with every body', async t => {
  fc.assert(fc.property(policies, fc.array(calls, { minLength: 5, maxLength: 25 }), (written, requests) => {
    const { policy, errors } = compiled(written)
    fc.pre(isLoadable(errors))
    for (const request of requests) {
      const before = decide(policy, { ...request, body: undefined })
      const after = decide(policy, request)
      if (after.effect === 'undecided') throw new Error('undecided with a body')
      if (before.effect === 'undecided') continue
      if (before.effect !== after.effect) throw new Error(`${before.effect}, then ${after.effect}`)
      if (before.effect === 'allow' && JSON.stringify(answerOf(before)) !== JSON.stringify(answerOf(after))) throw new Error('another rule answered')
    }
  }), { numRuns: RUNS })
  t.pass('agreed')
})

t.test('covers and disjoint never claim what a call disproves', async t => {
  fc.assert(fc.property(fc.tuple(allowRule, allowRule), fc.array(calls, { minLength: 10, maxLength: 40 }), ([first, second], requests) => {
    const one = compiled({ mode: 'enforce', allow: [{ ...first, mode: 'enforce' }], deny: [] })
    const two = compiled({ mode: 'enforce', allow: [{ ...second, mode: 'enforce' }], deny: [] })
    fc.pre(isLoadable(one.errors) && isLoadable(two.errors))
    const [a, b] = [one.policy.allow.shapes[0]!, two.policy.allow.shapes[0]!]
    if (a.operation !== b.operation) return
    for (const request of requests) {
      const [matchesFirst, matchesSecond] = [one.policy, two.policy].map(policy => decide(policy, request).effect === 'allow')
      if (covers(a, b) && matchesSecond && !matchesFirst) throw new Error(`covers: ${JSON.stringify([first, second, request.query, request.body])}`)
      if (disjoint(a, b) && matchesFirst && matchesSecond) throw new Error(`disjoint: ${JSON.stringify([first, second, request.query, request.body])}`)
    }
  }), { numRuns: RUNS })
  t.pass('held')
})

t.test('the strict parser reads what JSON.parse reads, or refuses', async t => {
  const parse = (text: string) => parseStrictJson(Buffer.from(text), 'application/json', undefined)
  fc.assert(fc.property(fc.jsonValue({ maxDepth: 5, stringUnit: 'binary' }), value => {
    const text = JSON.stringify(value)
    const body = parse(text)
    if (body.kind === 'json') assert.deepStrictEqual(body.value, JSON.parse(text))
    else if (body.kind === 'absent' || !/__proto__|number|surrogate/.test(body.why)) throw new Error(`${text}: ${JSON.stringify(body)}`)
  }), { numRuns: RUNS })
  fc.assert(fc.property(fc.array(fc.constantFrom('{', '}', '[', ']', '"', 'a', ':', ',', '1', '0', '.', 'e', '-', '\\', 'u0061', ' ', 'true', 'null', '\t', '\u0001'), { minLength: 1, maxLength: 12 }), pieces => {
    const text = pieces.join('')
    if (parse(text).kind === 'json') JSON.parse(text)
  }), { numRuns: RUNS * 5 })
  t.pass('held')
})

t.test('a policy of the leaf paths that were seen admits the body, and no body with one leaf more', async t => {
  const keys = fc.constantFrom('a', 'b', 'a.b', 'c[]', '*', '', '"', 'd\\')
  const value = fc.letrec(tie => ({
    value: fc.oneof({ maxDepth: 3 }, fc.constantFrom<unknown>(1, 'x', null), fc.array(tie('value'), { maxLength: 3 }), fc.dictionary(keys, tie('value'), { noNullPrototype: true, maxKeys: 3 }))
  })).value
  fc.assert(fc.property(fc.dictionary(keys, value, { noNullPrototype: true, maxKeys: 3 }), keys, (seen, extra) => {
    const only = leafPaths(seen)
    const { policy, errors } = compiled({ mode: 'enforce', allow: [{ operation: 'one', body: { only } }], deny: [] })
    if (errors.length > 0) throw new Error(JSON.stringify(errors))
    const effect = (body: unknown) => decide(policy, { operation: operations[0]!, parameters: ['a', 'b'], alias: false, query: [], body: { kind: 'json', value: body } }).effect
    assert.equal(effect(seen), 'allow')
    assert.equal(effect({ ...seen, [`${extra}+`]: 1 }), 'deny')
  }), { numRuns: RUNS })
  t.pass('held')
})
