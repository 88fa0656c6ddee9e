import fc from 'fast-check'
import { Dice, mutated } from './mutate.js'
import type { FuzzTarget } from './target.js'

export interface FuzzFinding {
  readonly target: string
  /** each character is a byte */
  readonly input: string
  readonly message: string
}

export interface FuzzRun {
  readonly target: string
  readonly iterations: number
  readonly findings: readonly FuzzFinding[]
  readonly seconds: number
  /** the longest that one input took */
  readonly slowestMs: number
}

export interface FuzzOptions {
  readonly iterations: number
  readonly seed: number
  /** a slow input is a finding, too: not for a machine that does other things, and not for tests */
  readonly timed?: boolean
  /** more findings end the run; default 5 */
  readonly most?: number
}

const BATCH = 5000

/** Runs a target: half of the inputs from its grammar by fast-check, half by the byte mutator from its corpus. */
export async function fuzz (target: FuzzTarget, { iterations, seed, timed = false, most = 5 }: FuzzOptions): Promise<FuzzRun> {
  const findings = new Map<string, FuzzFinding>()
  const begun = performance.now()
  let slowestMs = 0
  const check = (input: string): void | Promise<void> => {
    const start = performance.now()
    const after = (): void => {
      const took = performance.now() - start
      if (timed && took > target.slowMs) {
        const again = quickest(target, input)
        if (again > target.slowMs) throw new Error(`took ${Math.round(again)} ms`)
      } else if (took > slowestMs) slowestMs = took
    }
    const result = target.check(input)
    if (result instanceof Promise) return result.then(after)
    after()
  }
  const note = async (input: string, error: unknown): Promise<void> => {
    const message = messageOf(error)
    const kind = kindOf(message)
    if (!findings.has(kind)) findings.set(kind, { target: target.name, input: await smaller(input, kind, target.check), message })
  }
  let done = 0
  for (let batch = 0; done < iterations && findings.size < most; batch++) {
    const count = Math.min(BATCH, iterations - done)
    if (batch % 2 === 0) {
      const parameters = { numRuns: count, seed: seed * 1009 + batch, endOnFailure: true }
      const details = target.check.constructor.name === 'AsyncFunction'
        ? await fc.check(fc.asyncProperty(target.structured, async input => { await check(input) }), parameters)
        : fc.check(fc.property(target.structured, input => { check(input) }), parameters)
      if (details.failed) await note(details.counterexample![0], details.errorInstance)
      done += details.numRuns
    } else {
      const dice = new Dice(seed * 1013 + batch)
      for (let i = 0; i < count; i++, done++) {
        const input = mutated(target.corpus, target.words, dice)
        try {
          const wait = check(input)
          if (wait !== undefined) await wait
        } catch (error) {
          await note(input, error)
        }
      }
    }
  }
  return { target: target.name, iterations: done, findings: [...findings.values()], seconds: (performance.now() - begun) / 1000, slowestMs }
}

/** A process that was kept waiting is not a slow parser: the quickest of three more. Of what is asynchronous, the part up to the first wait. */
function quickest (target: FuzzTarget, input: string): number {
  let best = Infinity
  for (let i = 0; i < 3; i++) {
    const start = performance.now()
    const wait = target.check(input)
    best = Math.min(best, performance.now() - start)
    if (wait !== undefined) wait.catch(() => {})
  }
  return best
}

export function messageOf (error: unknown): string {
  return error instanceof Error ? `${error.message.split('\n')[0]!}${error.name === 'Error' ? '' : ` (${error.name})`}` : String(error)
}

/** Findings that differ only in what they quote are one. */
function kindOf (message: string): string {
  return message.split(':')[0]!.replaceAll(/\d+/g, 'N').slice(0, 60)
}

/** Pieces are left out as long as the same thing goes wrong. */
async function smaller (input: string, kind: string, check: FuzzTarget['check']): Promise<string> {
  let text = input
  const fails = async (candidate: string): Promise<boolean> => {
    try { await check(candidate); return false } catch (error) { return kindOf(messageOf(error)) === kind }
  }
  if (kind.startsWith('took')) return text
  for (let size = text.length >> 1, tries = 0; size > 0 && tries < 2000; size >>= 1) {
    for (let at = 0; at + size <= text.length && tries < 2000; tries++) {
      const without = text.slice(0, at) + text.slice(at + size)
      if (await fails(without)) text = without
      else at += size
    }
  }
  return text
}
