import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { fuzz, messageOf } from './engine.js'
import { Dice, mutated } from './mutate.js'
import { allTargets } from './targets/all.js'
import type { FuzzTarget } from './target.js'

/** A whole night's run is `node test/fuzz/run.mjs`; this one shows that its parts work and what it has found stays fixed. */
const ITERATIONS = 6000
const targets = await allTargets()

interface Seed { readonly target: string, readonly input: string, readonly was: string }
const seeds = JSON.parse(readFileSync(join(import.meta.dirname, 'seeds.json'), 'utf8')) as Seed[]

t.test('what was found once stays fixed', async t => {
  for (const { target: name, input, was } of seeds) {
    const target = targets.find(each => each.name === name)
    if (target === undefined) { t.fail(`no target ${name}`); continue }
    t.equal(await outcome(target, input), 'holds', `${name}: ${was}`)
  }
})

t.test('each property holds for some hundred inputs of each kind', async t => {
  const shares = targets.reduce((sum, { share }) => sum + share, 0)
  for (const target of targets) {
    for (const input of target.corpus) t.equal(await outcome(target, input), 'holds', `${target.name}: an honest input`)
    const run = await fuzz(target, { iterations: Math.max(20, Math.round(ITERATIONS * target.share / shares)), seed: 20261127 })
    t.same(run.findings, [], `${target.name}, ${run.iterations} inputs: ${target.property}`)
  }
})

t.test('a property that does not hold is found by the grammar and by the mutator, and made small', async t => {
  const broken = (check: (input: string) => void, structured: fc.Arbitrary<string>): FuzzTarget => ({ name: 'broken', property: 'no a stands before a b', share: 1, slowMs: 1000, structured, corpus: ['xxxxxxaxxxbxxx'], words: ['ab'], check })
  const check = (input: string): void => { if (input.includes('ab')) throw new Error('ab: found') }
  const byGrammar = await fuzz(broken(check, fc.array(fc.constantFrom('a', 'b', 'x')).map(parts => parts.join(''))), { iterations: 4000, seed: 1 })
  t.match(byGrammar.findings, [{ input: 'ab', message: 'ab: found' }])
  const byMutator = await fuzz(broken(check, fc.constant('')), { iterations: 8000, seed: 1 })
  t.match(byMutator.findings, [{ input: 'ab' }])
  const slow = await fuzz({ ...broken(() => { for (const end = performance.now() + 30; performance.now() < end;); }, fc.constant('')), slowMs: 20 }, { iterations: 1, seed: 1, timed: true })
  t.match(slow.findings, [{ message: /^took \d+ ms/ }])
})

t.test('the same seed gives the same inputs', async t => {
  const inputs = (seed: number): string[] => { const dice = new Dice(seed); return Array.from({ length: 50 }, () => mutated(['one input', 'another'], ['word'], dice)) }
  t.same(inputs(7), inputs(7))
  t.notSame(inputs(7), inputs(8))
})

async function outcome (target: FuzzTarget, input: string): Promise<string> {
  try {
    await target.check(input)
    return 'holds'
  } catch (error) {
    return messageOf(error)
  }
}
