import type { LearnOptions, SeenGroup } from './learn.js'
import type { WrittenAllow } from './schema.js'
import { defaultCredential } from './shape.js'

/** A rule, and what speaks for it. */
export interface LearnedRule {
  readonly rule: WrittenAllow
  readonly group: SeenGroup
  /** leaves that it requires: what tells two rules of one operation apart */
  readonly required: number
  /** what a reader should know, in sentences without values of queries and bodies */
  readonly notes: readonly string[]
}

type Query = WrittenAllow['query']
type Body = WrittenAllow['body']

/**
 * The smallest rule that admits all calls of a group.
 *
 * @param siblings all groups of the same operation, this one included: under several credentials each requires the
 * leaves that all of its calls have
 */
export function learnedRule (group: SeenGroup, siblings: readonly SeenGroup[], { generalise }: LearnOptions): LearnedRule {
  const { operation } = group
  const notes: string[] = []
  const require = siblings.length > 1 ? leavesOfAll(group) : []
  const query = queryOf(group, notes)
  const body = bodyOf(group, require, notes)
  const where = whereOf(group, generalise, notes)
  const subject = subjectOf(group)
  const [name] = group.names
  const rule: WrittenAllow = { ...subject }
  if (group.names.size === 1 && name !== operation.id && name !== subject.request) rule.as = name
  if (Object.keys(where).length > 0) rule.where = where
  if (query !== undefined) rule.query = query
  if (body !== undefined) rule.body = body
  const { credential } = group
  if ((credential === 'none' || credential === 'upstream' || credential === 'authnToken') && credential !== defaultCredential(operation)) rule.credential = credential
  return { rule, group, required: require.length, notes }
}

/** An `operation` rule admits every spelling: where one was seen, the request line says which. */
function subjectOf ({ operation, alias, canonical }: SeenGroup): { operation: string, request?: undefined } | { request: string, operation?: undefined } {
  if (operation.aliases.length === 0 || (alias && canonical)) return { operation: operation.id }
  return { request: `${operation.method} ${alias ? operation.aliases[0]! : operation.template}` }
}

function whereOf ({ operation, values }: SeenGroup, generalise: number, notes: string[]): Record<string, string[]> {
  const where: Record<string, string[]> = {}
  for (const [i, seen] of values.entries()) {
    const name = operation.parameters[i]!
    if (seen !== undefined && seen.size <= generalise) where[name] = [...seen].sort()
    else if (seen !== undefined && seen.size > 0 && generalise > 0) notes.push(`${name} had ${seen.size > 1_000 ? 'more than 1000' : seen.size} values`)
  }
  return where
}

const AMBIGUOUS = /[;[\]]/

function queryOf ({ operation, query, repeated }: SeenGroup, notes: string[]): Query {
  const names = [...query.keys()].sort()
  const documented = names.every(name => operation.query.includes(name))
  if (names.some(name => AMBIGUOUS.test(name))) {
    notes.push('a query parameter has ; [ or ] in its name: only `query: any` admits it')
    return 'any'
  }
  if (repeated.size > 0) {
    notes.push(`${[...repeated].sort().join(', ')} was repeated: a condition that names it would refuse that`)
    return documented ? undefined : 'any'
  }
  if (documented && names.length === operation.query.length) return undefined
  if (names.length === 0) return {}
  return { allow: Object.fromEntries(names.map(name => [name, 'any' as const])) }
}

function bodyOf (group: SeenGroup, require: readonly string[], notes: string[]): Body {
  const { operation, bodies, unread, leaves } = group
  // The format takes no body condition for GET: the gate's clients send none.
  if (operation.method === 'GET') return undefined
  if (unread > 0) {
    notes.push(unread === bodies
      ? 'no leaf paths in the log: the client was not observed, or the bodies are no JSON objects'
      : `of ${unread} of ${bodies} bodies the leaf paths are not in the log, or not all`)
    return undefined
  }
  const only = [...leaves.keys()].sort()
  return require.length === 0 ? { only } : { only, require: Object.fromEntries(require.map(path => [path, 'any' as const])) }
}

function leavesOfAll ({ calls, leaves, unread }: SeenGroup): string[] {
  return unread > 0 ? [] : [...leaves].filter(([, count]) => count === calls).map(([path]) => path).sort()
}
