import type { Problem } from '../domain/problem.js'
import type { Analyser } from './analyse.js'
import type { PlacedRule } from './compile.js'
import type { WrittenFile } from './written.js'
import type { Path } from './yaml.js'

/** A file's own rules, with their meaning. */
export interface FileRules { readonly allow: readonly PlacedRule[], readonly deny: readonly PlacedRule[] }

/** Most entries of one list: rule ids are held in 16 bits. */
const MAX_RULES = 65_535
/** How many rules are looked at before others get a turn. */
const RULES_A_STEP = 100

/** Gives a file's rules their meaning; what is wrong with them goes to `problems`. In steps of some rules. */
export function * placeRules (file: WrittenFile, analyser: Analyser, problems: Problem[]): Generator<undefined, FileRules> {
  const allow = yield * placeList(file, 'allow', file.value.allow ?? [], rule => analyser.allow(rule), problems)
  const deny = yield * placeList(file, 'deny', file.value.deny ?? [], rule => analyser.deny(rule), problems)
  return { allow, deny }
}

function * placeList<T> (file: WrittenFile, key: 'allow' | 'deny', written: readonly T[], analyse: (rule: T) => ReturnType<Analyser['allow']>, problems: Problem[]): Generator<undefined, PlacedRule[]> {
  if (written.length > MAX_RULES) problems.push(file.yaml.problem([key], `more than ${MAX_RULES} rules in one file`, { hint: 'move some to a set' }))
  const placed: PlacedRule[] = []
  for (let index = 0; index < Math.min(written.length, MAX_RULES); index++) {
    const rule = written[index]
    // A hole: what its schema refused has been said already.
    if (rule === undefined) continue
    const { shape, findings } = analyse(rule)
    for (const found of findings) problems.push(file.yaml.problem(placeOf(key, index, rule, found.path), found.message, found))
    if (shape !== undefined) placed.push({ shape, file: file.name, index })
    if (index % RULES_A_STEP === RULES_A_STEP - 1) yield
  }
  return placed
}

/** A deny that is only a text has no parts of its own. */
function placeOf (key: string, index: number, rule: unknown, path: Path): Path {
  return typeof rule === 'string' ? [key, index] : [key, index, ...path]
}
