import type { CallBody } from '../../src/domain/decision.js'
import type { Operation } from '../../src/domain/operation.js'

/**
 * A slow interpreter of policy-format.md, Meaning 1 to 5, 8 and 9, straight from its text: plain YAML values in, no
 * compiled form, JavaScript's own regular expressions, leaves listed and compared as texts. It shares no code with
 * src/policy.
 */
export type Test = 'any' | readonly unknown[] | { readonly pattern: string }
export interface RefRule {
  readonly operation?: string
  readonly request?: string
  readonly where?: Record<string, readonly string[] | { readonly pattern: string }>
  readonly query?: 'any' | { require?: Record<string, Test>, allow?: Record<string, Test> }
  readonly body?: { only?: readonly string[], require?: Record<string, Test> }
  readonly mode?: 'enforce' | 'observe'
}
export interface RefPolicy { readonly mode: 'enforce' | 'observe', readonly allow: readonly RefRule[], readonly deny: readonly RefRule[] }
export interface RefCall {
  readonly operation: Operation
  readonly parameters: readonly string[]
  readonly alias: boolean
  readonly query: readonly { name: string, value: string, ambiguous: boolean }[]
  readonly body: CallBody
}
export type RefAnswer = { allow: number } | { observed: string } | { deny: string }

const ORDER = ['no_rule', 'where', 'query', 'body']

export function interpret (policy: RefPolicy, call: RefCall): RefAnswer {
  if (policy.deny.some(rule => isAbout(rule, call) && denyMatches(rule, call))) return { deny: 'deny' }
  const failures: { failed: string, rule: RefRule }[] = []
  for (const [index, rule] of policy.allow.entries()) {
    if (!isAbout(rule, call)) continue
    const failed = failure(rule, call)
    if (failed === undefined) return { allow: index }
    failures.push({ failed, rule })
  }
  const reason = failures.map(each => each.failed).reduce((worst, each) => ORDER.indexOf(each) > ORDER.indexOf(worst) ? each : worst, 'no_rule')
  const lifted = policy.mode === 'observe' || failures.some(each => each.rule.mode === 'observe' && each.failed !== 'no_rule')
  return lifted ? { observed: reason } : { deny: reason }
}

function lineOf (rule: RefRule): { method: string, path: string, query: string | undefined, names: string[] } | undefined {
  if (rule.request === undefined) return undefined
  const [method, target] = rule.request.split(' ') as [string, string]
  const [path, query] = target.split('?') as [string, string | undefined]
  return { method, path, query, names: [...path.matchAll(/\{(.*?)\}/g)].map(match => match[1]!) }
}

const shape = (path: string) => path.replace(/\{.*?\}/g, '{}')

function isAbout (rule: RefRule, call: RefCall): boolean {
  const line = lineOf(rule)
  if (line === undefined) return rule.operation === call.operation.id
  return line.method === call.operation.method && [call.operation.template, ...call.operation.aliases].some(path => shape(path) === shape(line.path))
}

function whereHolds (rule: RefRule, call: RefCall): boolean {
  const names = lineOf(rule)?.names ?? call.operation.parameters
  return Object.entries(rule.where ?? {}).every(([name, test]) => passes(test, call.parameters[names.indexOf(name)]!))
}

/** A pattern of these tests in JavaScript's words: RE2's dot stands for everything but a line feed, JavaScript's for less. */
const matches = (pattern: string, value: string) => new RegExp(`^(?:${pattern.replaceAll('.', '[^\\n]')})$`, 'u').test(value)

function passes (test: Test, value: string): boolean {
  if (test === 'any') return true
  return 'pattern' in test ? matches(test.pattern, value) : test.includes(value)
}

function failure (rule: RefRule, call: RefCall): string | undefined {
  const line = lineOf(rule)
  if (line !== undefined && line.path.endsWith('/') !== call.alias) return 'no_rule'
  if (!whereHolds(rule, call)) return 'where'
  if (!queryHolds(rule, line?.query, call)) return 'query'
  if (rule.body !== undefined && !bodyHolds(rule.body, call.body)) return 'body'
  return undefined
}

function exactOf (query: string): Record<string, Test> {
  return Object.fromEntries([...new URLSearchParams(query)].map(([name, value]) => [name, [value]]))
}

function queryHolds (rule: RefRule, exact: string | undefined, call: RefCall): boolean {
  if (rule.query === 'any') return true
  if (call.query.some(parameter => parameter.ambiguous)) return false
  const names = call.query.map(parameter => parameter.name)
  if (exact === undefined && rule.query === undefined) return names.every(name => call.operation.query.includes(name))
  const require = exact !== undefined ? exactOf(exact) : (rule.query as { require?: Record<string, Test> }).require ?? {}
  const allow = exact !== undefined ? {} : (rule.query as { allow?: Record<string, Test> }).allow ?? {}
  if (new Set(names).size !== names.length) return false
  if (!Object.keys(require).every(name => names.includes(name))) return false
  return call.query.every(({ name, value }) => {
    const test = Object.hasOwn(require, name) ? require[name] : Object.hasOwn(allow, name) ? allow[name] : undefined
    return test !== undefined && passes(test, value)
  })
}

/** A key as a step of a path: what is no plain word stands as a JSON string in brackets. */
const stepOf = (key: string, first: boolean) => /^[^.[\]*"]+$/.test(key) ? `${first ? '' : '.'}${key}` : `[${JSON.stringify(key)}]`

/** [path, value] of every leaf, by policy-format.md's words. */
function leaves (value: unknown, path = ''): [string, unknown][] {
  if (Array.isArray(value) && value.length > 0) return value.flatMap(item => leaves(item, `${path}[]`))
  if (typeof value === 'object' && value !== null && Object.keys(value).length > 0) {
    return Object.entries(value).flatMap(([key, member]) => leaves(member, path + stepOf(key, path === '')))
  }
  return [[path, value]]
}

const isBelow = (path: string, parent: string) => path.startsWith(`${parent}.`) || path.startsWith(`${parent}[`)

function bodyHolds (condition: NonNullable<RefRule['body']>, body: CallBody): boolean {
  if (body.kind === 'unjudgeable') return false
  const required = Object.entries(condition.require ?? {})
  if (body.kind === 'absent') return required.length === 0
  const isEmpty = JSON.stringify(body.value) === '{}'
  const all = isEmpty ? [] : leaves(body.value)
  if (condition.only?.some !== undefined && !all.every(([path]) => condition.only!.some(only => only.endsWith('.*') ? isBelow(path, only.slice(0, -2)) : only === path))) return false
  return required.every(([path, test]) => {
    const parent = path.replace(/\.\*$/, '')
    const below = all.filter(([leaf]) => isBelow(leaf, parent))
    if (path.endsWith('.*')) return below.length > 0
    const here = all.filter(([leaf]) => leaf === path)
    if (test === 'any') return here.length + below.length > 0
    // Every value at the path counts: an object or array there, empty or not, is none of the values.
    return here.length > 0 && below.length === 0 && here.every(([, value]) => valuePasses(test, value))
  })
}

function valuePasses (test: Exclude<Test, 'any'>, value: unknown): boolean {
  if ('pattern' in test) return typeof value === 'string' && matches(test.pattern, value)
  return typeof value !== 'object' || value === null ? test.includes(value) : false
}

function denyMatches (rule: RefRule, call: RefCall): boolean {
  if (!whereHolds(rule, call)) return false
  const exact = lineOf(rule)?.query
  const named = exact !== undefined ? exactOf(exact) : rule.query === undefined || rule.query === 'any' ? undefined : rule.query.require
  if (named !== undefined) {
    const isClear = !call.query.some(parameter => parameter.ambiguous) &&
      Object.keys(named).every(name => call.query.filter(parameter => parameter.name === name).length <= 1)
    const present = Object.entries(named).every(([name, test]) => call.query.some(parameter => parameter.name === name && passes(test, parameter.value)))
    if (isClear && !present) return false
  }
  if (rule.body === undefined) return true
  if (call.body.kind === 'unjudgeable') return true
  if (call.body.kind === 'absent') return false
  const { value } = call.body
  return Object.entries(rule.body.require ?? {}).every(([path, test]) => reach(value, path).some(found => denyValue(test, found, path)))
}

/** Every value that stands at a path, a single value standing for an array and an array for its items. */
function reach (value: unknown, path: string): unknown[] {
  let values = [value]
  for (const step of path.replace(/\.\*$/, '').split(/\.|(?=\[\])/)) {
    if (step === '[]') values = values.flatMap(each => Array.isArray(each) ? each : [each])
    else values = values.flatMap(each => spread(each)).flatMap(each => typeof each === 'object' && each !== null && Object.hasOwn(each, step) ? [(each as Record<string, unknown>)[step]] : [])
  }
  return values
}

function spread (value: unknown): unknown[] {
  return Array.isArray(value) ? value.flatMap(spread) : [value]
}

function denyValue (test: Test, value: unknown, path: string): boolean {
  if (path.endsWith('.*')) return typeof value === 'object' && value !== null && Object.keys(value).length > 0
  if (test === 'any') return true
  if (value === null) return !('pattern' in test) && test.includes(null)
  if (typeof value === 'object') return true
  return 'pattern' in test ? passes(test, String(value)) : test.some(each => each !== null && String(each) === String(value))
}
