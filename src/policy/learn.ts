import type { AuditEvent } from '../domain/event.js'
import type { Operation } from '../domain/operation.js'
import { isRejection } from '../domain/rejection.js'
import { parseTarget } from '../domain/target.js'
import type { Catalog } from '../okta/catalog.js'
import { parseBodyPath } from './body-path.js'
import { learnedRule, type LearnedRule } from './learn-rule.js'

/** What learning reads of a call: the names that its audit event carries. */
export type SeenCall = Pick<AuditEvent, 'time' | 'method' | 'bytesIn'> & Partial<Pick<AuditEvent, 'path' | 'queryNames' | 'bodyPaths' | 'operation' | 'rule' | 'wouldDeny' | 'credential'>>

/** All calls of one operation under one credential, as far as rules can tell them apart. */
export interface SeenGroup {
  readonly operation: Operation
  credential: string | undefined
  calls: number
  /** epoch milliseconds */
  first: number
  last: number
  canonical: boolean
  alias: boolean
  /** by position in the path; undefined: not known of some call */
  readonly values: (Set<string> | undefined)[]
  /** name → calls that had it */
  readonly query: Map<string, number>
  readonly repeated: Set<string>
  /** leaf path → calls that had it */
  readonly leaves: Map<string, number>
  bodies: number
  /** bodies whose leaves the log does not give whole */
  unread: number
  readonly names: Set<string>
}

export interface LearnOptions {
  /** a parameter with at most so many values gets a list of them; 0: none does */
  readonly generalise: number
}

export interface Learned {
  /** in the order of the catalogue */
  readonly rules: readonly LearnedRule[]
  readonly calls: number
  /** calls that no rule can stand for: why → how many */
  readonly leftOut: ReadonlyMap<string, number>
}

/** Takes calls one by one; its memory grows with operations, not with calls. */
export interface Learner {
  add (call: SeenCall): void
  learned (): Learned
}

export const DEFAULT_GENERALISE = 3

/** Distinct values of a parameter that are counted. */
const MOST_VALUES = 1_000
/** An event names at most 100 leaf paths (server/travel.ts): of such a list the end may be missing. */
const MOST_LEAVES = 100
/** An event's path is cut there (domain/event.ts). */
const LONGEST_PATH = 1_024

/** Makes a learner for the calls of one client. Parameters are found, and paths generalised, through the catalogue. */
export function createLearner (catalog: Catalog, options: LearnOptions): Learner {
  const groups = new Map<string, SeenGroup>()
  const leftOut = new Map<string, number>()
  let calls = 0
  return {
    add (call) {
      const found = resolve(catalog, call)
      if (typeof found === 'string') {
        leftOut.set(found, (leftOut.get(found) ?? 0) + 1)
        return
      }
      calls++
      const key = `${found.operation.index} ${call.credential ?? ''}`
      let group = groups.get(key)
      if (group === undefined) groups.set(key, group = emptyGroup(found.operation, call))
      note(group, call, found)
    },
    learned () {
      const ordered = [...groups.values()].sort((a, b) => a.operation.index - b.operation.index)
      const rules = ordered.map(group => learnedRule(group, ordered.filter(other => other.operation === group.operation), options))
      return { rules: rules.sort((a, b) => a.group.operation.index - b.group.operation.index || b.required - a.required), calls, leftOut }
    }
  }
}

interface Found { readonly operation: Operation, readonly parameters: readonly string[] | undefined, readonly alias: boolean }

/** The operation and parameters of a recorded call in today's catalogue; a text says why there is none. */
export function resolve (catalog: Catalog, call: SeenCall): Found | string {
  const known = call.operation === undefined ? undefined : catalog.byId(call.operation)
  const target = call.path === undefined || call.path.length >= LONGEST_PATH ? undefined : parseTarget(call.path, catalog.slashAliases)
  const resolution = target === undefined || isRejection(target) ? undefined : catalog.resolve(call.method, target)
  const found = resolution?.kind === 'operation' ? resolution : undefined
  const operation = found?.operation ?? known
  if (operation === undefined) return 'no operation of the catalogue'
  if (operation.reserved) return 'kept by the gate itself'
  return { operation, parameters: found?.parameters, alias: found?.alias ?? false }
}

function emptyGroup (operation: Operation, call: SeenCall): SeenGroup {
  return {
    operation,
    credential: call.credential,
    calls: 0,
    first: call.time,
    last: call.time,
    canonical: false,
    alias: false,
    values: operation.parameters.map(() => new Set<string>()),
    query: new Map(),
    repeated: new Set(),
    leaves: new Map(),
    bodies: 0,
    unread: 0,
    names: new Set()
  }
}

function note (group: SeenGroup, call: SeenCall, found: Found): void {
  group.calls++
  group.first = Math.min(group.first, call.time)
  group.last = Math.max(group.last, call.time)
  if (found.alias) group.alias = true
  else group.canonical = true
  if (call.rule !== undefined && call.wouldDeny === undefined) group.names.add(call.rule)
  for (const [i, values] of group.values.entries()) {
    const value = found.parameters?.[i]
    if (value === undefined) group.values[i] = undefined
    else if (values !== undefined && values.size <= MOST_VALUES) values.add(value)
  }
  const names = call.queryNames ?? []
  for (const name of new Set(names)) {
    group.query.set(name, (group.query.get(name) ?? 0) + 1)
    if (names.indexOf(name) !== names.lastIndexOf(name)) group.repeated.add(name)
  }
  if (call.bytesIn > 0) noteBody(group, call.bodyPaths)
}

function noteBody (group: SeenGroup, paths: readonly string[] | undefined): void {
  group.bodies++
  // The whole body as one leaf has no path that a policy could write.
  if (paths === undefined || paths.length >= MOST_LEAVES || paths.some(path => typeof parseBodyPath(path) === 'string')) { group.unread++; return }
  for (const path of paths) group.leaves.set(path, (group.leaves.get(path) ?? 0) + 1)
}
