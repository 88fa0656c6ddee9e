import type { ValidateFunction } from 'ajv'
import type { CallBody } from '../domain/decision.js'
import type { QueryParameter } from '../domain/target.js'
import { appendKey, type Step } from './body-path.js'
import { matches, type Pattern } from './pattern.js'

/** A set of values, or what looks like one. */
export type Values = Iterable<unknown> & Pick<ReadonlySet<unknown>, 'has' | 'size'>

/** What a single value has to be. */
export type ValueTest =
  | { readonly kind: 'any' }
  | { readonly kind: 'values', readonly values: Values }
  | { readonly kind: 'pattern', readonly pattern: Pattern }

/** What a list admits. Most have one text: as a Set and an object around it that takes four times as much, and a client may have hundreds. */
export function oneOf (values: readonly unknown[]): ValueTest {
  return values.length === 1 && typeof values[0] === 'string' ? new OneText(values[0]) : { kind: 'values', values: new Set(values) }
}

/** A test and its one value at once. */
class OneText implements Iterable<unknown> {
  readonly #text: string

  constructor (text: string) { this.#text = text }

  get kind (): 'values' { return 'values' }
  get values (): Values { return this }
  get size (): number { return 1 }
  has (value: unknown): boolean { return value === this.#text }
  [Symbol.iterator] (): Iterator<unknown> { return [this.#text].values() }
}

/** Which query a rule admits. A query in a request line is `named` with nothing in `allow`. */
export type QueryCondition =
  | { readonly kind: 'any' }
  | { readonly kind: 'documented', readonly names: ReadonlySet<string> }
  | { readonly kind: 'named', readonly require: ReadonlyMap<string, ValueTest>, readonly allow: ReadonlyMap<string, ValueTest> }

/** The leaves that `only` admits, as a tree. */
export interface OnlyNode {
  leaf: boolean
  subtree: boolean
  keys: Map<string, OnlyNode>
  items?: OnlyNode
}

export interface RequiredLeaf {
  /** as written */
  readonly text: string
  readonly steps: readonly Step[]
  readonly test: ValueTest
}

export interface BodyCondition {
  readonly only?: OnlyNode
  readonly require: readonly RequiredLeaf[]
  readonly schema?: ValidateFunction
}

/**
 * A condition's outcome: undefined when it holds, otherwise what failed, in names. Without `explain` the text
 * is empty, so that trying a rule costs no allocation.
 */
export type Failure = string | undefined
const FAILED = ''

/** True when a string value passes. */
export function passes (test: ValueTest, value: string): boolean {
  switch (test.kind) {
    case 'any': return true
    case 'values': return test.values.has(value)
    case 'pattern': return matches(test.pattern, value)
  }
}

/** Judges the path parameters, in the order of the path. */
export function whereFailure (where: readonly (ValueTest | undefined)[] | undefined, parameters: readonly string[], names: readonly string[], explain: boolean): Failure {
  if (where === undefined) return undefined
  for (let i = 0; i < where.length; i++) {
    const test = where[i]
    if (test !== undefined && !passes(test, parameters[i]!)) return explain ? `where.${names[i]}` : FAILED
  }
  return undefined
}

/**
 * Judges the whole query: every parameter is named and passes, none that is named is repeated, none is
 * ambiguous, all that are required are there (policy-format.md, Meaning 4).
 */
export function queryFailure (condition: QueryCondition, query: readonly QueryParameter[], explain: boolean): Failure {
  if (condition.kind === 'any') return undefined
  let required = 0
  for (let i = 0; i < query.length; i++) {
    const { name, value, ambiguous } = query[i]!
    if (ambiguous) return explain ? 'query: ; [ or ] can be read in several ways' : FAILED
    if (condition.kind === 'documented') {
      if (!condition.names.has(name)) return explain ? `query: ${name} is not documented for this operation` : FAILED
      continue
    }
    const must = condition.require.get(name)
    const test = must ?? condition.allow.get(name)
    if (test === undefined) return explain ? `query: ${name} is not allowed` : FAILED
    if (isRepeated(query, i)) return explain ? `query.${name} is repeated` : FAILED
    if (!passes(test, value)) return explain ? `query.${name} has another value` : FAILED
    if (must !== undefined) required++
  }
  if (condition.kind === 'documented' || required === condition.require.size) return undefined
  return explain ? missingText(condition.require, query) : FAILED
}

/** Whether a deny's query condition matches: what it names is there, or can't be judged. */
export function queryDenied (condition: QueryCondition, query: readonly QueryParameter[]): boolean {
  if (condition.kind !== 'named') return true
  for (let i = 0; i < query.length; i++) {
    if (query[i]!.ambiguous || (condition.require.has(query[i]!.name) && isRepeated(query, i))) return true
  }
  for (const [name, test] of condition.require) {
    const found = query.find(parameter => parameter.name === name)
    if (found === undefined || !passes(test, found.value)) return false
  }
  return true
}

function isRepeated (query: readonly QueryParameter[], at: number): boolean {
  const name = query[at]!.name
  for (let i = 0; i < query.length; i++) if (i !== at && query[i]!.name === name) return true
  return false
}

function missingText (require: ReadonlyMap<string, ValueTest>, query: readonly QueryParameter[]): string {
  for (const name of require.keys()) if (!query.some(parameter => parameter.name === name)) return `query.${name} is missing`
  return 'query'
}

/**
 * Judges a body that was read. An absent body has no leaves: it satisfies `only`, and fails `require` and
 * `schema`. One that is not strict JSON fails every condition.
 */
export function bodyFailure (condition: BodyCondition, body: CallBody, explain: boolean): Failure {
  if (body.kind === 'unjudgeable') return explain ? `body: ${body.why}` : FAILED
  if (body.kind === 'absent') {
    const missing = condition.require[0]
    if (missing !== undefined) return explain ? `body.require.${missing.text} is missing` : FAILED
    return condition.schema === undefined ? undefined : explain ? 'body.schema: there is no body' : FAILED
  }
  if (condition.only !== undefined && !isEmptyObject(body.value)) {
    const outside = outsideOnly(body.value, condition.only, '', explain)
    if (outside !== undefined) return explain ? `body: ${cut(outside)} is not in only` : FAILED
  }
  for (const leaf of condition.require) {
    const outcome = required(body.value, leaf.steps, 0, leaf.test)
    if (outcome === 'holds') continue
    return explain ? `body.require.${leaf.text} ${outcome === 'absent' ? 'is missing' : 'has another value'}` : FAILED
  }
  if (condition.schema !== undefined && condition.schema(body.value) !== true) {
    return explain ? `body.schema${cut(condition.schema.errors?.[0]?.instancePath ?? '')}` : FAILED
  }
  return undefined
}

/** Whether a deny's body condition matches: everything it names is there, or can't be judged. */
export function bodyDenied (condition: BodyCondition, body: CallBody): boolean {
  if (body.kind === 'unjudgeable') return true
  if (body.kind === 'absent') return false
  return condition.require.every(leaf => denied(body.value, leaf.steps, 0, leaf.test))
}

/** Below what `only` does not name every leaf is outside; going on finds the first one's name. */
const NOTHING: OnlyNode = { leaf: false, subtree: false, keys: new Map() }

/** The first leaf that `only` does not admit. */
function outsideOnly (value: unknown, node: OnlyNode, path: string, explain: boolean): Failure {
  if (typeof value === 'object' && value !== null) {
    if (Array.isArray(value)) {
      if (value.length > 0) return outsideItems(value, node, path, explain)
    } else if (!isEmptyObject(value)) return outsideKeys(value as Record<string, unknown>, node, path, explain)
  }
  return node.leaf ? undefined : path === '' ? 'the whole body' : path
}

function outsideItems (value: readonly unknown[], node: OnlyNode, path: string, explain: boolean): Failure {
  if (node.subtree) return undefined
  const below = explain ? `${path}[]` : path
  for (const item of value) {
    const outside = outsideOnly(item, node.items ?? NOTHING, below, explain)
    if (outside !== undefined) return outside
  }
  return undefined
}

function outsideKeys (value: Record<string, unknown>, node: OnlyNode, path: string, explain: boolean): Failure {
  if (node.subtree) return undefined
  for (const key in value) {
    const below = explain ? appendKey(path, key) : path
    const outside = outsideOnly(value[key], node.keys.get(key) ?? NOTHING, below, explain)
    if (outside !== undefined) return outside
  }
  return undefined
}

type Presence = 'absent' | 'holds' | 'fails'

/** All values at the path have to pass, and there has to be one. */
function required (value: unknown, steps: readonly Step[], at: number, test: ValueTest): Presence {
  if (at === steps.length) return valueHolds(value, test) ? 'holds' : 'fails'
  const step = steps[at]!
  if (step.kind === 'subtree') return hasMembers(value) ? 'holds' : 'absent'
  if (step.kind === 'key') {
    return isObject(value) && Object.hasOwn(value, step.key) ? required(value[step.key], steps, at + 1, test) : 'absent'
  }
  if (!Array.isArray(value)) return 'absent'
  let outcome: Presence = 'absent'
  for (const item of value) {
    const presence = required(item, steps, at + 1, test)
    if (presence === 'fails') return 'fails'
    if (presence === 'holds') outcome = 'holds'
  }
  return outcome
}

function valueHolds (value: unknown, test: ValueTest): boolean {
  switch (test.kind) {
    case 'any': return true
    case 'values': return test.values.has(value)
    case 'pattern': return typeof value === 'string' && matches(test.pattern, value)
  }
}

/**
 * One value at the path suffices, and readings that Okta's parser may take count too: a single value for an
 * array and an array for a single value, a number or boolean for its text, an object where values are named.
 */
function denied (value: unknown, steps: readonly Step[], at: number, test: ValueTest): boolean {
  if (at === steps.length) return valueDenied(value, test)
  const step = steps[at]!
  if (step.kind === 'subtree') return hasMembers(value)
  if (step.kind === 'items') {
    return Array.isArray(value) ? value.some(item => denied(item, steps, at + 1, test)) : denied(value, steps, at + 1, test)
  }
  if (Array.isArray(value)) return value.some(item => denied(item, steps, at, test))
  return isObject(value) && Object.hasOwn(value, step.key) && denied(value[step.key], steps, at + 1, test)
}

function valueDenied (value: unknown, test: ValueTest): boolean {
  if (test.kind === 'any') return true
  if (value === null) return test.kind === 'values' && test.values.has(null)
  if (typeof value === 'object') return true
  const text = String(value)
  if (test.kind === 'pattern') return matches(test.pattern, text)
  for (const each of test.values) if (each !== null && String(each) === text) return true
  return false
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isEmptyObject (value: unknown): boolean {
  if (!isObject(value)) return false
  for (const key in value) if (Object.hasOwn(value, key)) return false
  return true
}

function hasMembers (value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : isObject(value) && !isEmptyObject(value)
}

/** Keys of a body are the client's text: no more than a line of it. */
function cut (path: string): string {
  return path.length > 100 ? `${path.slice(0, 99)}…` : path
}
