import type { CallBody } from '../domain/decision.js'
import { ITEMS, type Step } from './body-path.js'
import { bodyDenied, bodyFailure, type BodyCondition, type OnlyNode, type ValueTest } from './condition.js'
import { samplesOf } from './pattern-samples.js'
import { merge, nest } from './verdict.js'

/** Bodies that stand for all others, as far as these conditions can tell them apart. */
export interface CandidateBodies {
  readonly bodies: readonly CallBody[]
  /** false: there were too many to look at all */
  readonly exhaustive: boolean
}

/** A key that no condition names. */
const UNKNOWN_KEY = 'narrowgate'
const FRESH: readonly unknown[] = ['narrowgate', 0, true, null]
const EMPTY: readonly unknown[] = [{}, []]
const MOST_STATES = 3_000

/**
 * Builds bodies from the conditions that judge them: every path that one of them names, with the values it tests and
 * others; paths beside, below and above. Bodies that all conditions see alike are kept once.
 */
export function candidateBodies (allows: readonly BodyCondition[], denies: readonly BodyCondition[]): CandidateBodies {
  const slots = slotsOf([...allows, ...denies])
  const interior = new Set(slots.flatMap(slot => slot.steps.slice(0, -1).map((_, i) => JSON.stringify(slot.steps.slice(0, i + 1)))))
  const interiors: Step[][] = [[], ...[...interior].map(text => JSON.parse(text) as Step[])]
  const key = (body: unknown) => `${signature(allows, denies, body)} ${interiors.map(steps => kindAt(body, steps)).join('')}`
  const states = new Map<string, unknown>([[key({}), {}], [key([]), []]])
  let exhaustive = true
  for (const { steps, values } of slots) {
    for (const body of [...states.values()]) {
      for (const value of values) {
        const next = place(body, steps, value)
        if (next === undefined) continue
        const name = key(next)
        if (states.has(name)) continue
        if (states.size >= MOST_STATES) { exhaustive = false; break }
        states.set(name, next)
      }
    }
  }
  const json = [...states.values(), ...FRESH].map((value): CallBody => ({ kind: 'json', value }))
  return { bodies: [{ kind: 'absent' }, ...json, { kind: 'unjudgeable', why: 'it is no JSON' }], exhaustive }
}

/** What every single condition says of a body: finer than what rules say, so that it holds for bodies made of it. */
function signature (allows: readonly BodyCondition[], denies: readonly BodyCondition[], value: unknown): string {
  const body: CallBody = { kind: 'json', value }
  let text = ''
  for (const { only, require, schema } of allows) {
    if (only !== undefined) text += bodyFailure({ only, require: [] }, body, false) === undefined ? '1' : '0'
    for (const leaf of require) {
      const failure = bodyFailure({ require: [leaf] }, body, true)
      text += failure === undefined ? '1' : failure.endsWith('is missing') ? '0' : '2'
    }
    if (schema !== undefined) text += schema(value) === true ? '1' : '0'
  }
  for (const { require } of denies) for (const leaf of require) text += bodyDenied({ require: [leaf] }, body) ? '1' : '0'
  return text
}

/** Whether something can still be put below: an object or nothing, an array, or a value that is in the way. */
function kindAt (body: unknown, steps: readonly Step[]): string {
  let value = body
  for (const step of steps) {
    if (step.kind === 'items' && Array.isArray(value)) value = value.at(-1)
    else if (step.kind === 'key' && typeof value === 'object' && value !== null) value = (value as Record<string, unknown>)[step.key]
    else return 'o'
  }
  if (value === undefined || (typeof value === 'object' && value !== null && !Array.isArray(value))) return 'o'
  return Array.isArray(value) ? 'a' : 's'
}

/** The body with the value at the path; undefined where something else stands in the way. */
function place (body: unknown, steps: readonly Step[], value: unknown): unknown {
  let inner = body
  for (const [i, step] of steps.entries()) {
    if (inner === undefined) break
    if (step.kind === 'items') {
      if (!Array.isArray(inner)) return undefined
      break
    }
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner) || step.kind !== 'key') return undefined
    inner = (inner as Record<string, unknown>)[step.key]
    if (i === steps.length - 1 && inner !== undefined) return undefined
  }
  return merge(body, nest(steps, value))
}

interface Slot { readonly steps: readonly Step[], readonly values: unknown[] }

function slotsOf (conditions: readonly BodyCondition[]): Slot[] {
  const slots = new Map<string, Slot>()
  const add = (steps: readonly Step[], values: readonly unknown[]) => {
    if (steps.length === 0) return
    const name = JSON.stringify(steps)
    const slot = slots.get(name) ?? { steps, values: [] }
    slots.set(name, slot)
    for (const value of values) if (!slot.values.some(each => JSON.stringify(each) === JSON.stringify(value))) slot.values.push(value)
  }
  const around = (steps: readonly Step[], values: readonly unknown[]) => {
    for (let length = 0; length <= steps.length; length++) {
      const here = steps.slice(0, length)
      add(here, length === steps.length ? [...values, ...FRESH, ...EMPTY] : ['narrowgate', ...EMPTY])
      add([...here, { kind: 'key', key: UNKNOWN_KEY }], ['narrowgate'])
      add([...here, ITEMS], ['narrowgate'])
    }
  }
  for (const { only, require } of conditions) {
    for (const steps of only === undefined ? [] : pathsOf(only)) around(steps, [])
    for (const { steps, test } of require) around(steps.filter(step => step.kind !== 'subtree'), valuesOf(test))
  }
  const all = [...slots.values()]
  // Two items of one array may hold different values: what can repeat is looked at twice.
  return [...all, ...all.filter(({ steps }) => steps.some(step => step.kind === 'items'))]
}

function valuesOf (test: ValueTest): readonly unknown[] {
  switch (test.kind) {
    case 'any': return []
    case 'values': return [...test.values]
    case 'pattern': return samplesOf(test.pattern.source)
  }
}

function pathsOf (node: OnlyNode, before: readonly Step[] = []): Step[][] {
  const below = [...node.keys].flatMap(([key, child]) => pathsOf(child, [...before, { kind: 'key', key }]))
  const items = node.items === undefined ? [] : pathsOf(node.items, [...before, ITEMS])
  return [...node.leaf || node.subtree ? [[...before]] : [], ...below, ...items]
}
