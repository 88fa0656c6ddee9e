import type { Operation } from '../domain/operation.js'
import type { Context } from './analyse.js'
import { compileTest } from './analyse-where.js'
import type { QueryCondition, ValueTest } from './condition.js'
import type { RequestLine } from './request-line.js'
import type { WrittenAllow, WrittenDeny } from './schema.js'
import { finding, type Finding } from './validate.js'

const NONE: ReadonlyMap<string, ValueTest> = new Map()
const ANY: QueryCondition = { kind: 'any' }

/**
 * Compiles the query condition. Of an allow: the request line's query exactly; what `query` names; or what Okta
 * documents. Of a deny: what it names, or any.
 */
export function analyseQuery (
  rule: WrittenAllow | WrittenDeny, line: RequestLine | undefined, kind: 'allow' | 'deny', operation: Operation, context: Context, findings: Finding[]
): QueryCondition {
  const written = rule.query
  if (line?.query !== undefined) {
    if (written !== undefined) {
      findings.push(finding(['query'], '"query" beside a query in the request line', { what: 'key', hint: 'the request line\'s query is required exactly; write it under query.require instead' }))
    }
    const unknown = [...line.query.keys()].filter(name => !operation.query.includes(name))
    if (kind === 'allow' && unknown.length > 0) warnUndocumented(unknown, ['request'], operation, findings)
    return { kind: 'named', require: new Map([...line.query].map(([name, value]) => [name, { kind: 'values', values: new Set([value]) }])), allow: NONE }
  }
  if (written === undefined) return kind === 'deny' ? ANY : context.documented(operation)
  if (written === 'any') return ANY
  const require = compileNames(written.require, 'require', findings)
  const allow = 'allow' in written ? compileNames(written.allow, 'allow', findings) : NONE
  for (const name of require.keys()) {
    if (allow.has(name)) findings.push(finding(['query', 'allow', name], `"${name}" stands under require and under allow`, { what: 'key', hint: 'require is enough' }))
  }
  const unknown = [...require.keys(), ...allow.keys()].filter(name => !operation.query.includes(name))
  if (kind === 'allow' && unknown.length > 0) warnUndocumented(unknown, ['query'], operation, findings)
  return { kind: 'named', require, allow }
}

type WrittenTests = Readonly<Record<string, 'any' | readonly string[] | { readonly pattern: string }>>

function compileNames (tests: WrittenTests | undefined, key: 'require' | 'allow', findings: Finding[]): ReadonlyMap<string, ValueTest> {
  const compiled = new Map<string, ValueTest>()
  for (const [name, written] of Object.entries(tests ?? {})) {
    if (/[;[\]]/.test(name)) findings.push(finding(['query', key, name], `"${name}" holds ; [ or ], which is refused wherever a condition looks: it can never match`, { what: 'key' }))
    if (Array.isArray(written)) checkValues(written, name, key, findings)
    compiled.set(name, compileTest(written, ['query', key, name], findings))
  }
  return compiled
}

function checkValues (values: readonly string[], name: string, key: string, findings: Finding[]): void {
  for (const [i, value] of values.entries()) {
    if (/[\x00-\x1f\x7f]/.test(value)) findings.push(finding(['query', key, name, i], 'a value with a control character can never match')) // eslint-disable-line no-control-regex
  }
}

function warnUndocumented (names: readonly string[], path: readonly string[], operation: Operation, findings: Finding[]): void {
  const documented = operation.query.length > 0 ? `documented: ${operation.query.join(', ')}` : 'it documents no query parameters'
  findings.push(finding(path, `Okta does not document ${names.join(', ')} for ${operation.id}`, { severity: 'warning', hint: documented }))
}
