import assert from 'node:assert/strict'
import fc from 'fast-check'
import { leafPaths } from '../../../src/policy/body-path.js'
import { decide } from '../../../src/policy/decide.js'
import { parseStrictJson } from '../../../src/policy/json.js'
import { allowRule, compiled, denyRule, isLoadable, operations } from '../../policy/arbitrary.js'
import { interpret, type RefCall, type RefPolicy } from '../../policy/reference.js'
import { anyBytes, bytesOf, pieces, type FuzzTarget } from '../target.js'

const operation = operations.find(({ id }) => id === 'one')!
const about = (rule: object): boolean => 'operation' in rule && rule.operation === 'one' && 'body' in rule && rule.body !== undefined
const conditions = fc.record({
  mode: fc.constantFrom('enforce' as const, 'enforce' as const, 'observe' as const),
  allow: fc.array(allowRule.filter(about).map(rule => ({ ...rule, where: undefined, query: 'any' as const })), { minLength: 1, maxLength: 3 }),
  deny: fc.array(denyRule.filter(about).map(rule => ({ ...rule, where: undefined, query: undefined })), { maxLength: 1 })
})

/** Policies with conditions on bodies, always the same: an input names one by its first byte. */
const POLICIES = fc.sample(conditions, { seed: 20261127, numRuns: 160 }).flatMap((written: RefPolicy) => {
  const { policy, errors } = compiled(written)
  return isLoadable(errors) ? [{ written, policy }] : []
}).slice(0, 128)

const WORDS = ['{', '}', '[', ']', ':', ',', '"x"', '"y"', '"x":', '"y":', '"x.y":', '"x[]":', '"":', '"a"', '"b"', '"ab"', '"bb"', '"b\\r"', '"b\\n"', '"b\\u2028"', '"aba"', '"1"', '1', '1.0', '-0', 'true', 'false', '"true"', 'null', '"\\u0078":', '"\\u0061"', '[]', '{}', '""', ' ']
const value = fc.letrec(tie => ({
  value: fc.oneof({ maxDepth: 4 }, fc.constantFrom<unknown>('a', 'b', 'ab', 'bb', 'b\r', 'b\n', 'b\u2028', '', 'A', 1, 2, '1', true, false, 'true', null), fc.array(tie('value'), { maxLength: 3 }), fc.dictionary(fc.constantFrom('x', 'y', 'z', 'x.y', 'x[]', '', '*', 'X'), tie('value'), { noNullPrototype: true, maxKeys: 3 }))
})).value
const body = fc.oneof(
  { weight: 6, arbitrary: fc.oneof(value, value.map(x => ({ x })), value.map(x => ({ x, y: 'a' }))).map(each => Buffer.from(JSON.stringify(each)).toString('latin1')) },
  { weight: 3, arbitrary: pieces(WORDS, 14) }, { weight: 1, arbitrary: anyBytes })

/** Conditions on bodies, compiled, against the reference interpreter of the policy format. */
export const bodyConditions: FuzzTarget = {
  name: 'body',
  property: 'a body is judged as the reference interpreter judges it, whatever its bytes, and a policy of its leaf paths admits it',
  share: 1,
  slowMs: 500,
  structured: fc.tuple(fc.integer({ min: 0, max: 255 }), body).map(([which, text]) => String.fromCharCode(which) + text),
  corpus: ['{"x":"a"}', '{"x":{"y":["a","b",null]},"y":1}', '{"x":[{"y":"ab"},{"y":["b"]}]}', '{"x":[["a"],[]],"y":{}}', '[{"x":"a"},{"x":"b"}]', '{}', '"a"', ''].map((text, n) => String.fromCharCode(n * 7) + text),
  words: WORDS,
  check (input) {
    const { written, policy } = POLICIES[(input.charCodeAt(0) || 0) % POLICIES.length]!
    const judged = parseStrictJson(bytesOf(input.slice(1)), 'application/json', undefined)
    const call: RefCall = { operation, parameters: ['a', 'b'], alias: false, query: [], body: judged }
    const decision = decide(policy, call)
    const said = decision.effect === 'undecided' ? decision.effect : decision.effect === 'deny' ? { deny: decision.reason } : decision.wouldDeny !== undefined ? { observed: decision.wouldDeny } : { allow: Number(decision.rule.id.split('#')[1]) }
    assert.deepStrictEqual(said, interpret(written, call), `another decision under ${JSON.stringify(written)}`)
    if (judged.kind === 'json') assert.ok(leafPaths(judged.value).length <= input.length, 'more leaf paths than bytes')
  }
}
