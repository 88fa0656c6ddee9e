import type { Operation } from '../domain/operation.js'
import { isRejection } from '../domain/rejection.js'
import { parseTarget } from '../domain/target.js'
import type { Catalog } from '../okta/catalog.js'
import { oneOf, type ValueTest } from './condition.js'
import { didYouMean } from './nearest.js'
import { compilePattern } from './pattern.js'
import { finding, type Finding } from './validate.js'
import type { Path } from './yaml.js'

type Written = readonly string[] | { readonly pattern: string }

/** Compiles `where`: by position in the path; undefined when there is none. */
export function analyseWhere (
  where: Readonly<Record<string, Written>> | undefined, operation: Operation, names: readonly string[], catalog: Catalog, findings: Finding[]
): RuleShape['where'] {
  if (where === undefined) return undefined
  const tests: (ValueTest | undefined)[] = names.map(() => undefined)
  for (const [name, written] of Object.entries(where)) {
    const position = names.indexOf(name)
    if (position < 0) {
      const hint = didYouMean(name, names) ?? (names.length === 0 ? 'its path has no parameters' : `its parameters are ${names.join(', ')}`)
      findings.push(finding(['where', name], `"${name}" is no parameter of this rule`, { what: 'key', hint }))
      continue
    }
    if (names.indexOf(name, position + 1) >= 0) {
      findings.push(finding(['where', name], `"${name}" stands twice in the request line`, { what: 'key', hint: 'give the parameters different names' }))
      continue
    }
    if (isList(written)) checkValues(written, name, operation, position, catalog, findings)
    else checkPattern(written.pattern, name, operation, position, catalog, findings)
    tests[position] = compileTest(written, ['where', name], findings)
  }
  return tests.some(test => test !== undefined) ? tests : undefined
}

type RuleShape = { where: readonly (ValueTest | undefined)[] | undefined }

/** Compiles a list or a pattern. A pattern that is refused matches nothing and leaves a finding. */
export function compileTest (written: 'any' | readonly unknown[] | { readonly pattern: string }, path: Path, findings: Finding[]): ValueTest {
  if (written === 'any') return { kind: 'any' }
  if (isList(written)) return oneOf(written)
  const pattern = compilePattern((written as { pattern: string }).pattern)
  if (typeof pattern !== 'string') return { kind: 'pattern', pattern }
  findings.push(finding([...path, 'pattern'], `the pattern ${pattern}`))
  return { kind: 'values', values: new Set() }
}

/**
 * A value that no request can bring is a mistake, and a list of nothing else is a rule that can never match.
 * The catalogue itself is asked, with a path made of the value, so that the answer is the request's own.
 */
function checkValues (values: readonly string[], name: string, operation: Operation, position: number, catalog: Catalog, findings: Finding[]): void {
  for (const [i, value] of values.entries()) {
    const why = unreachable(value, operation, position, catalog)
    if (why !== undefined) findings.push(finding(['where', name, i], `"${value}" can never match: ${why}`))
  }
}

/** Words alone, or a choice of them: what such a pattern admits can be told, and so that none of it can ever come. */
const WORDS = /^[^\\^$.*+?()[\]{}]+$/

function checkPattern (pattern: string, name: string, operation: Operation, position: number, catalog: Catalog, findings: Finding[]): void {
  if (!WORDS.test(pattern)) return
  const whys = pattern.split('|').map(word => unreachable(word, operation, position, catalog))
  if (whys.every(why => why !== undefined)) findings.push(finding(['where', name, 'pattern'], `the pattern can never match: ${whys[0]}`))
}

function unreachable (value: string, operation: Operation, position: number, catalog: Catalog): string | undefined {
  let parameter = 0
  const path = operation.segments.map(segment => {
    if (segment.kind === 'literal') return segment.name
    return parameter++ === position ? encodeURIComponent(value) : 'narrowgate0'
  })
  const target = parseTarget(`/${path.join('/')}`)
  if (isRejection(target)) return target.causes[0] ?? 'a path with it is refused'
  const resolution = catalog.resolve(operation.method, target)
  if (resolution.kind === 'operation' && resolution.operation === operation) return undefined
  return 'it is a word of Okta\'s own paths, and never fills a parameter'
}

function isList (value: unknown): value is readonly unknown[] & readonly string[] {
  return Array.isArray(value)
}
