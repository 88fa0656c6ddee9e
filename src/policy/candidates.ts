import type { CallBody } from '../domain/decision.js'
import type { QueryParameter } from '../domain/target.js'
import { candidateBodies } from './candidate-bodies.js'
import { bodyDenied, bodyFailure, passes, type QueryCondition, type ValueTest } from './condition.js'
import { samplesOf } from './pattern-samples.js'
import type { RuleShape } from './shape.js'

/** A call of one operation, as far as conditions look at it, and which rules' conditions it meets. */
export interface Candidate {
  readonly parameters: readonly string[]
  readonly alias: boolean
  readonly query: readonly QueryParameter[]
  readonly body: CallBody
  /** bit i: meets the conditions of allows[i] */
  readonly allow: bigint
  /** bit i: matches denies[i] */
  readonly deny: bigint
}

export interface Candidates {
  readonly list: readonly Candidate[]
  /** false: there were too many to look at all of them */
  readonly exhaustive: boolean
}

interface World {
  readonly allows: readonly RuleShape[]
  readonly denies: readonly RuleShape[]
  /** names of query parameters that stand for all others */
  readonly documented: readonly string[]
  readonly hasAlias: boolean
  readonly parameters: number
  /** whether a value can fill the parameter at all */
  readonly fills: (position: number, value: string) => boolean
  /** bodies to look at beside those that conditions suggest */
  readonly bodies: readonly CallBody[]
}

/** A part of a call: which rules it suits. `forced`: denies that match whatever the rest of the query is. */
interface Part<T> { readonly allow: bigint, readonly deny: bigint, readonly forced: bigint, readonly value: T }

const MOST_PARTS = 20_000
const ANYTHING: ValueTest = { kind: 'any' }
const FRESH = 'narrowgate0'

/**
 * Calls that stand for all others: for each dimension of a call the values that some rule can tell apart, and of their
 * combinations one for each set of rules that they suit.
 */
export function candidateCalls (world: World): Candidates {
  const { allows, denies } = world
  let exhaustive = true
  const cross = <A, B, C>(first: readonly Part<A>[], second: readonly Part<B>[], join: (a: A, b: B) => C): Part<C>[] => {
    const found = new Map<string, Part<C>>()
    for (const a of first) {
      for (const b of second) {
        const allow = a.allow & b.allow
        const deny = a.deny & b.deny
        const forced = a.forced | b.forced
        const key = `${allow} ${deny} ${forced}`
        if (found.has(key)) continue
        if (found.size >= MOST_PARTS) { exhaustive = false; return [...found.values()] }
        found.set(key, { allow, deny, forced, value: join(a.value, b.value) })
      }
    }
    return [...found.values()]
  }
  const part = <T>(value: T, allow: (shape: RuleShape) => boolean, deny: (shape: RuleShape) => boolean, forced: (shape: RuleShape) => boolean = () => false): Part<T> =>
    ({ value, allow: bits(allows, allow), deny: bits(denies, deny), forced: bits(denies, forced) })

  let paths: Part<readonly string[]>[] = [part([], () => true, () => true)]
  for (let i = 0; i < world.parameters; i++) {
    const values = valuesOf([...allows, ...denies].map(shape => shape.where?.[i])).filter(value => world.fills(i, value))
    const suits = (value: string) => (shape: RuleShape) => passes(shape.where?.[i] ?? ANYTHING, value)
    paths = cross(paths, values.map(value => part(value, suits(value), suits(value))), (before, value) => [...before, value])
  }
  const spellings = (world.hasAlias ? [false, true] : [false]).map(alias => part(alias, shape => shape.spelling === 'any' || (shape.spelling === 'alias') === alias, () => true))
  const places = cross(paths, spellings, (parameters, alias) => ({ parameters, alias }))

  let queries: Part<readonly QueryParameter[]>[] = [part([], () => true, () => true)]
  for (const states of queryStates(world)) {
    queries = cross(queries, states.map(({ parameters, name, kind }) => part(parameters,
      shape => queryAdmits(shape.query, name, kind, parameters), shape => queryMatches(shape.query, name, parameters), shape => queryForced(shape.query, name, kind))), (before, more) => [...before, ...more])
  }
  const judged = queries.map(each => ({ ...each, deny: each.deny | each.forced, forced: 0n }))

  const made = candidateBodies(allows.flatMap(shape => shape.body ?? []), denies.flatMap(shape => shape.body ?? []))
  if (!made.exhaustive) exhaustive = false
  const bodies = [...made.bodies, ...world.bodies].map(body => part(body,
    shape => shape.body === undefined || bodyFailure(shape.body, body, false) === undefined,
    shape => shape.body === undefined || bodyDenied(shape.body, body)))
  const whole = cross(cross(places, judged, (place, query) => ({ ...place, query })), bodies, (call, body) => ({ ...call, body }))
  return { list: whole.map(({ allow, deny, value }) => ({ ...value, allow, deny })), exhaustive }
}

function bits (shapes: readonly RuleShape[], holds: (shape: RuleShape) => boolean): bigint {
  return shapes.reduce((sum, shape, i) => holds(shape) ? sum | (1n << BigInt(i)) : sum, 0n)
}

/** Texts that tests can tell apart: their values, samples of their patterns, and some that nobody names. */
function valuesOf (tests: readonly (ValueTest | undefined)[]): string[] {
  const values = tests.flatMap(test => {
    if (test === undefined || test.kind === 'any') return []
    return test.kind === 'values' ? [...test.values].filter(value => typeof value === 'string') : samplesOf(test.pattern.source)
  })
  return [...new Set([FRESH, ...values])]
}

type QueryState = 'absent' | 'once' | 'repeated' | 'ambiguous'
interface NamedState { readonly name: string, readonly kind: QueryState, readonly parameters: readonly QueryParameter[] }

/** For each name of a parameter what may be there. The last is a name that no one documents, spelled ambiguously. */
function queryStates ({ allows, denies, documented }: World): NamedState[][] {
  const conditions = [...allows, ...denies].map(shape => shape.query)
  const named = new Set(conditions.flatMap(query => query.kind === 'named' ? [...query.require.keys(), ...query.allow.keys()] : []))
  const unknown = [...freshNames(named, documented)]
  const states = [...named, ...documented.filter(name => !named.has(name)), ...unknown].map(name => {
    const tests = conditions.map(query => query.kind === 'named' ? query.require.get(name) ?? query.allow.get(name) : undefined)
    const once = valuesOf(tests).map(value => ({ name, kind: 'once' as const, parameters: [{ name, value, ambiguous: false }] }))
    const repeated = { name, kind: 'repeated' as const, parameters: [once[0]!.parameters[0]!, once[0]!.parameters[0]!] }
    return [{ name, kind: 'absent' as const, parameters: [] }, ...once, repeated]
  })
  const ambiguous = { name: FRESH, kind: 'ambiguous' as const, parameters: [{ name: FRESH, value: '[', ambiguous: true }] }
  return [...states, [{ name: FRESH, kind: 'absent', parameters: [] }, ambiguous]]
}

function freshNames (named: ReadonlySet<string>, documented: readonly string[]): string[] {
  return ['narrowgate'].filter(name => !named.has(name) && !documented.includes(name))
}

function queryAdmits (query: QueryCondition, name: string, kind: QueryState, [parameter]: readonly QueryParameter[]): boolean {
  if (query.kind === 'any') return true
  if (kind === 'ambiguous') return false
  if (query.kind === 'documented') return parameter === undefined || query.names.has(name)
  if (parameter === undefined) return !query.require.has(name)
  const test = query.require.get(name) ?? query.allow.get(name)
  return kind === 'once' && test !== undefined && passes(test, parameter.value)
}

function queryMatches (query: QueryCondition, name: string, [parameter]: readonly QueryParameter[]): boolean {
  const test = query.kind === 'named' ? query.require.get(name) : undefined
  return test === undefined || (parameter !== undefined && passes(test, parameter.value))
}

function queryForced (query: QueryCondition, name: string, kind: QueryState): boolean {
  return query.kind === 'named' && (kind === 'ambiguous' || (kind === 'repeated' && query.require.has(name)))
}
