import fc from 'fast-check'
import t from 'tap'
import { resolveCall } from '../../src/policy/call.js'
import { diffPolicies } from '../../src/policy/diff.js'
import { splitRequest } from '../../src/policy/request-line.js'
import { samplesOf } from '../../src/policy/pattern-samples.js'
import type { Witness } from '../../src/policy/diff-operation.js'
import { allowRule, calls, catalog, compiled, denyRule, isLoadable, policies } from './arbitrary.js'
import { interpret, type RefCall, type RefPolicy } from './reference.js'

const RUNS = 250

/** A policy, and one like it with something added, removed or replaced; or one that has nothing to do with it. */
const pairs: fc.Arbitrary<readonly [RefPolicy, RefPolicy]> = fc.tuple(policies, policies, allowRule, denyRule, fc.nat(4), fc.nat(5)).map(([one, other, rule, deny, at, how]) => {
  switch (how) {
    case 0: return [one, other]
    case 1: return [one, { ...one, allow: [...one.allow, rule] }]
    case 2: return [{ ...one, deny: [...one.deny, deny] }, one]
    case 3: return [one, { ...one, allow: one.allow.map((each, i) => i === at % one.allow.length ? { ...each, body: rule.body } : each) }]
    case 4: return [one, { ...one, allow: one.allow.map((each, i) => i === at % one.allow.length && 'query' in rule && !String(each.request).includes('?') ? { ...each, query: rule.query } : each) }]
    default: return [one, { ...one, deny: [deny], allow: [rule, ...one.allow.slice(1)] }]
  }
})

const goes = (policy: RefPolicy, call: RefCall) => !('deny' in interpret(policy, call))

function callOf ({ request, body }: Witness): RefCall {
  const { method, target } = splitRequest(request)!
  const resolved = resolveCall(catalog, method, target, body ?? { kind: 'absent' })
  if (resolved.kind !== 'call') throw new Error(`the witness ${request} is no call: ${resolved.why}`)
  return { ...resolved.call, body: body ?? { kind: 'absent' } }
}

t.test('diff finds a gain whenever some request goes through that did not before, and shows only requests that do', async t => {
  let gains = 0
  let witnesses = 0
  fc.assert(fc.property(pairs, fc.array(calls, { minLength: 10, maxLength: 40 }), ([before, after], requests) => {
    const [old, now] = [compiled(before), compiled(after)]
    fc.pre(isLoadable(old.errors) && isLoadable(now.errors))
    const [diff] = diffPolicies(old.set, now.set)
    const explain = () => JSON.stringify({ before, after, diff }, null, 1)
    const opened = diff?.changes.some(change => change.kind === 'widened' && change.what.startsWith('mode')) === true
    for (const request of requests) {
      if (goes(before, request) || !goes(after, request)) continue
      gains++
      const found = diff?.operations.some(change => change.operation === request.operation.id && (change.kind === 'gained' || change.kind === 'widened'))
      if (!opened && found !== true) throw new Error(`not found: ${JSON.stringify({ ...request, operation: request.operation.id })}\n${explain()}`)
    }
    for (const { kind, witness } of diff?.operations ?? []) {
      if (witness === undefined) continue
      witnesses++
      const call = callOf(witness)
      const [admits, refuses] = kind === 'gained' || kind === 'widened' ? [after, before] : [before, after]
      const enforced = (policy: RefPolicy) => before.mode === after.mode ? policy : { ...policy, mode: 'enforce' as const }
      if (!goes(enforced(admits), call) || goes(enforced(refuses), call)) throw new Error(`no witness of ${kind}: ${witness.request}\n${explain()}`)
    }
  }), { numRuns: RUNS, seed: Number(process.env['SEED'] ?? Date.now() % 1e9) })
  t.ok(gains > 40 && witnesses > 50, `${gains} gains, ${witnesses} witnesses`)
})

t.test('samples of a pattern match it, and reach its corners', async t => {
  for (const pattern of ['a|b', '[ab]{2}', 'b.*', '00u[A-Za-z0-9]{17}', '[1-9][0-9]{0,2}', '(?:x|y)+z?', '\\d{3}-\\w+', '[^a]\\.', '\\x41\\u{42}\\p{L}?']) {
    const samples = samplesOf(pattern)
    const matching = samples.filter(sample => new RegExp(`^(?:${pattern})$`, 'u').test(sample))
    t.ok(matching.length > 0 && matching.length >= samples.length / 2, `${pattern}: ${matching.length} of ${samples.length}, like ${matching.slice(0, 4).join(' ')}`)
  }
})
