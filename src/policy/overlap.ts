import type { BodyCondition, QueryCondition, RequiredLeaf, ValueTest } from './condition.js'
import { admits } from './analyse-body.js'
import type { RuleShape } from './shape.js'

/**
 * True when the first rule surely matches whatever the second matches, so that the second never answers.
 * Careful: false when it can't be told.
 */
export function covers (first: RuleShape, second: RuleShape): boolean {
  if (first.spelling !== 'any' && first.spelling !== second.spelling) return false
  return whereCovers(first.where, second.where) && queryCovers(first.query, second.query) && bodyCovers(first, second)
}

/** True when no call can match both rules. Careful: false when it can't be told. */
export function disjoint (first: RuleShape, second: RuleShape): boolean {
  if (first.spelling !== 'any' && second.spelling !== 'any' && first.spelling !== second.spelling) return true
  const where = (first.where ?? []).some((test, i) => valuesDisjoint(test, second.where?.[i]))
  return where || queryExcludes(first.query, second.query) || queryExcludes(second.query, first.query) ||
    bodyExcludes(first.body, second.body) || bodyExcludes(second.body, first.body)
}

function whereCovers (first: RuleShape['where'], second: RuleShape['where']): boolean {
  return (first ?? []).every((test, i) => test === undefined || testCovers(test, second?.[i]))
}

function testCovers (first: ValueTest, second: ValueTest | undefined): boolean {
  if (first.kind === 'any') return true
  if (second === undefined || second.kind === 'any') return false
  if (first.kind === 'pattern') return second.kind === 'pattern' && first.pattern.source === second.pattern.source
  return second.kind === 'values' && [...second.values].every(value => first.values.has(value))
}

function queryCovers (first: QueryCondition, second: QueryCondition): boolean {
  if (first.kind === 'any' || first === second) return true
  if (second.kind === 'any') return false
  if (first.kind === 'documented') return second.kind === 'documented' || [...second.require.keys(), ...second.allow.keys()].every(name => first.names.has(name))
  if (second.kind === 'documented') return false
  const required = [...first.require].every(([name, test]) => second.require.has(name) && testCovers(test, second.require.get(name)))
  return required && [...second.require, ...second.allow].every(([name, test]) => {
    const allowed = first.require.get(name) ?? first.allow.get(name)
    return allowed !== undefined && testCovers(allowed, test)
  })
}

function bodyCovers (first: RuleShape, second: RuleShape): boolean {
  return first.bodyText === undefined || first.bodyText === second.bodyText
}

function valuesDisjoint (first: ValueTest | undefined, second: ValueTest | undefined): boolean {
  return first?.kind === 'values' && second?.kind === 'values' && [...first.values].every(value => !second.values.has(value))
}

/** True when something that `first` requires can't be in what `second` admits. */
function queryExcludes (first: QueryCondition, second: QueryCondition): boolean {
  if (first.kind !== 'named' || second.kind === 'any') return false
  return [...first.require].some(([name, test]) => {
    if (second.kind === 'documented') return !second.names.has(name)
    const other = second.require.get(name) ?? second.allow.get(name)
    return other === undefined || valuesDisjoint(test, other)
  })
}

function bodyExcludes (first: BodyCondition | undefined, second: BodyCondition | undefined): boolean {
  if (first === undefined || second === undefined) return false
  return first.require.some(leaf => {
    if (second.only !== undefined && !admits(second.only, leaf.steps, leaf.test.kind === 'any')) return true
    return second.require.some((other: RequiredLeaf) => other.text === leaf.text && valuesDisjoint(leaf.test, other.test))
  })
}
