import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import type { Decision } from '../../src/domain/decision.js'
import { leafPaths } from '../../src/policy/body-path.js'
import { decide } from '../../src/policy/decide.js'
import { parseStrictJson } from '../../src/policy/json.js'
import { covers, disjoint } from '../../src/policy/overlap.js'
import { allowRule, calls, compiled, isLoadable, operations, policies, policyText } from './arbitrary.js'
import { interpret, type RefAnswer } from './reference.js'

/** MUTATION_RUNS: a mutation run has every mutant go through all of it, and is content with less. */
const RUNS = Number(process.env['MUTATION_RUNS'] ?? 400)

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
