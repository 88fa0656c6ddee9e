import { isRejection } from '../domain/rejection.js'
import { parseTarget } from '../domain/target.js'

/** A request line of a policy, split. */
export interface RequestLine {
  readonly method: string
  readonly template: string
  /** names of the parameters as this line writes them, in the order of the path */
  readonly names: readonly string[]
  /** undefined when there is no `?` */
  readonly query?: ReadonlyMap<string, string>
}

const LINE = /^([A-Za-z]+) +(\/[^?\s]*)(?:\?(\S*))?$/
const PARAMETER = /^\{([^{}/]+)\}$/

/**
 * Reads `METHOD /path/{parameter}?name=value`.
 *
 * @returns the parts, or a text that says what is wrong
 */
export function parseRequestLine (text: string): RequestLine | string {
  const match = LINE.exec(text.trim())
  if (match === null) return 'is not of the form METHOD /path'
  const [, method, template, query] = match as unknown as [string, string, string, string | undefined]
  if (method !== method.toUpperCase()) return `has a method in small letters: write ${method.toUpperCase()}`
  const names: string[] = []
  for (const segment of template.split('/')) {
    const name = PARAMETER.exec(segment)?.[1]
    if (name !== undefined) names.push(name)
    else if (/[{}]/.test(segment)) return `has a segment "${segment}" that is neither a literal nor one {parameter}`
  }
  if (query === undefined) return { method, template, names }
  const parsed = parseExactQuery(query)
  return typeof parsed === 'string' ? parsed : { method, template, names, query: parsed }
}

function parseExactQuery (text: string): ReadonlyMap<string, string> | string {
  if (text === '') return 'ends in ? without a query'
  const target = parseTarget(`/?${text}`)
  if (isRejection(target)) return `has a query that no request can carry (${target.causes.join(', ')})`
  const query = new Map<string, string>()
  for (const { name, value, ambiguous } of target.query) {
    if (ambiguous) return `has ; [ or ] in its query, which is refused wherever a condition looks: "${name}" can never match`
    if (name === '') return 'has a query parameter without a name'
    if (query.has(name)) return `names the query parameter "${name}" twice, which is refused wherever a condition looks`
    query.set(name, value)
  }
  return query
}

/** Splits a test's or a command line's `METHOD /target`; the target stays as it is. */
export function splitRequest (text: string): { method: string, target: string } | undefined {
  const match = /^([A-Z]+) +(\S+)$/.exec(text.trim())
  return match === null ? undefined : { method: match[1]!, target: match[2]! }
}
