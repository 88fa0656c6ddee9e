import type { CallBody } from '../domain/decision.js'
import type { Catalog } from '../okta/catalog.js'
import type { CompiledPolicy } from './compile.js'
import { bodyDenied, bodyFailure, type BodyCondition, type QueryCondition, type ValueTest } from './condition.js'
import { parseBodyPath, type Step } from './body-path.js'
import { resolve, type SeenCall } from './learn.js'
import type { RuleShape } from './shape.js'

/** What a policy would do with a recorded call; unknown: it hangs on values that no log carries. */
export type Verdict = 'admitted' | 'refused' | 'unknown'

/** Kleene's three values: undefined is "not known". */
type Known = boolean | undefined

/**
 * Judges a recorded call by names alone: its path, the names of its query parameters and the leaf paths of its body.
 * `mode: observe` of the policy or a rule is left aside: the question is what enforcing would do.
 */
export function judgeSeen (policy: CompiledPolicy, catalog: Catalog, call: SeenCall): Verdict {
  const found = resolve(catalog, call)
  if (typeof found === 'string') return 'refused'
  const { operation, parameters, alias } = found
  const body = bodyOf(call)
  const facts: Facts = { parameters, names: call.queryNames ?? [], body }
  const denied = any(group(policy.deny, operation.index).map(shape => denies(shape, facts)))
  if (denied === true) return 'refused'
  const allowed = any(group(policy.allow, operation.index)
    .filter(shape => shape.spelling === 'any' || (shape.spelling === 'alias') === alias)
    .map(shape => admits(shape, facts)))
  if (allowed === false) return 'refused'
  return allowed === true && denied === false ? 'admitted' : 'unknown'
}

interface Facts {
  readonly parameters: readonly string[] | undefined
  readonly names: readonly string[]
  /** with placeholders for its values; undefined: nothing is known of it */
  readonly body: CallBody | undefined
}

function group (table: CompiledPolicy['allow'], operation: number): readonly RuleShape[] {
  const found = table.group(operation)
  return table.shapes.slice(table.start(found), table.end(found))
}

function any (values: readonly Known[]): Known {
  return values.includes(true) ? true : values.includes(undefined) ? undefined : false
}

function all (values: readonly Known[]): Known {
  return values.includes(false) ? false : values.includes(undefined) ? undefined : true
}

function where (shape: RuleShape, { parameters }: Facts): Known {
  return all((shape.where ?? []).map((test, i) => {
    if (test === undefined) return true
    const value = parameters?.[i]
    return value === undefined ? undefined : valuePasses(test, value)
  }))
}

function valuePasses (test: ValueTest, value: string): boolean {
  return test.kind === 'any' || (test.kind === 'values' ? test.values.has(value) : test.pattern.expression.testExact(value))
}

function admits (shape: RuleShape, facts: Facts): Known {
  return all([where(shape, facts), queryAdmits(shape.query, facts.names), shape.body === undefined ? true : bodyAdmits(shape.body, facts)])
}

/** A raw ; [ or ] in a value is refused by every condition; the log does not tell, and Okta's own clients send none. */
function queryAdmits (condition: QueryCondition, names: readonly string[]): Known {
  if (condition.kind === 'any') return true
  if (names.some(name => /[;[\]]/.test(name))) return false
  if (condition.kind === 'documented') return names.every(name => condition.names.has(name))
  if (new Set(names).size !== names.length || [...condition.require.keys()].some(name => !names.includes(name))) return false
  return all(names.map(name => {
    const test = condition.require.get(name) ?? condition.allow.get(name)
    return test === undefined ? false : test.kind === 'any' ? true : undefined
  }))
}

function bodyAdmits (condition: BodyCondition, { body }: Facts): Known {
  if (body === undefined) return undefined
  const byName = { only: condition.only, require: condition.require.map(leaf => ({ ...leaf, test: ANY })) }
  if (bodyFailure(byName, body, false) !== undefined) return false
  if (body.kind === 'absent') return bodyFailure(condition, body, false) === undefined
  return condition.schema === undefined && condition.require.every(leaf => leaf.test.kind === 'any') ? true : undefined
}

const ANY: ValueTest = { kind: 'any' }

function denies (shape: RuleShape, facts: Facts): Known {
  return all([where(shape, facts), queryDenies(shape.query, facts.names), bodyDenies(shape.body, facts)])
}

function queryDenies (condition: QueryCondition, names: readonly string[]): Known {
  if (condition.kind !== 'named' || names.some(name => /[;[\]]/.test(name))) return true
  if ([...condition.require.keys()].some(name => names.indexOf(name) !== names.lastIndexOf(name))) return true
  return all([...condition.require].map(([name, test]) => names.includes(name) ? (test.kind === 'any' ? true : undefined) : false))
}

function bodyDenies (condition: BodyCondition | undefined, { body }: Facts): Known {
  if (condition === undefined) return true
  if (body === undefined) return undefined
  const byName = { require: condition.require.map(leaf => ({ ...leaf, test: ANY })) }
  if (!bodyDenied(byName, body)) return false
  return condition.require.every(leaf => leaf.test.kind === 'any') ? true : undefined
}

/** A body with these leaves, each null. */
function bodyOf (call: SeenCall): CallBody | undefined {
  if (call.bytesIn === 0) return { kind: 'absent' }
  if (call.bodyPaths === undefined || call.bodyPaths.length >= 100) return undefined
  const value = bodyOfLeaves(call.bodyPaths)
  return value === undefined ? undefined : { kind: 'json', value }
}

/**
 * A JSON value whose leaf paths are these, with null for each value. Two leaves below one array stand in items of
 * their own; undefined when a path can't be read, or the whole body is one leaf.
 */
export function bodyOfLeaves (paths: readonly string[]): unknown {
  let body: unknown = {}
  for (const path of paths) {
    const steps = parseBodyPath(path)
    if (typeof steps === 'string') return undefined
    body = merge(body, nest(steps, null))
  }
  return body
}

/** A value at a path, with nothing beside it. */
export function nest (steps: readonly Step[], value: unknown): unknown {
  return steps.reduceRight<unknown>((inner, step) => step.kind === 'items' ? [inner] : step.kind === 'key' ? Object.fromEntries([[step.key, inner]]) : inner, value)
}

/** Both bodies in one; where they do not fit together, the second. */
export function merge (a: unknown, b: unknown): unknown {
  if (Array.isArray(a) && Array.isArray(b)) return [...a, ...b]
  if (!isObject(a) || !isObject(b)) return b
  const merged = new Map(Object.entries(a))
  for (const [key, value] of Object.entries(b)) merged.set(key, merged.has(key) ? merge(merged.get(key), value) : value)
  return Object.fromEntries(merged)
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
