import { match, parse, type MatchFunction } from 'path-to-regexp'
import type { TemplateSegment } from '../domain/operation.js'

/**
 * path-to-regexp's defaults are case-insensitive, accept a trailing slash and decode %2F
 * (docs/architecture.md, traps in the stock forwarder).
 */
const MATCH_SETTINGS = { sensitive: true, trailing: false, decode: false } as const

// RFC 3986 unreserved only: any other character has a second, percent-encoded spelling.
const LITERAL = /^[A-Za-z0-9\-._~]+$/
const PARAMETER = /^\{[A-Za-z_][A-Za-z0-9_-]*\}$/

/**
 * Says what is wrong with a path template such as `/api/v1/users/{id}`.
 *
 * @returns undefined when it is well-formed: absolute, no empty or dot segment, every parameter a whole
 * segment with a name of its own, literals of unreserved characters only
 */
export function templateProblem (template: string): string | undefined {
  if (!template.startsWith('/')) return 'a path starts with /'
  const seen = new Set<string>()
  for (const segment of template.slice(1).split('/')) {
    if (segment === '') return 'a path has no empty segment and no slash at its end'
    if (segment === '.' || segment === '..') return 'a path has no dot segment'
    if (PARAMETER.test(segment)) {
      if (seen.has(segment)) return `the parameter ${segment} occurs twice`
      seen.add(segment)
    } else if (!LITERAL.test(segment)) {
      return `"${segment}" is neither a literal of letters, digits and -._~ nor a {parameter}`
    }
  }
  return undefined
}

/**
 * The segments of a template, from path-to-regexp's tokens.
 *
 * @throws when templateProblem() finds something: templates from outside are checked first
 */
export function parseTemplate (template: string): readonly TemplateSegment[] {
  const problem = templateProblem(template)
  if (problem !== undefined) throw new Error(`malformed path template ${template}: ${problem}`)
  const segments: TemplateSegment[] = []
  for (const token of parse(patternOf(template)).tokens) {
    if (token.type === 'param') segments.push({ kind: 'parameter', name: token.name })
    else if (token.type === 'text') segments.push(...literalsOf(token.value))
    else throw new Error(`path template ${template} compiles to a ${token.type}`)
  }
  return segments
}

function literalsOf (text: string): TemplateSegment[] {
  return text.split('/').filter(name => name !== '').map(name => ({ kind: 'literal', name }))
}

/** The template as path-to-regexp writes it: `/api/v1/users/:"id"`. Quoted, since Okta's names may hold a hyphen. */
function patternOf (template: string): string {
  return template.replace(/\{([^{}/]+)\}/g, ':"$1"')
}

/** A path-to-regexp matcher of one template: what the trie is checked against, one template at a time. */
export function matcherOf (template: string): MatchFunction<Record<string, string>> {
  return match<Record<string, string>>(patternOf(template), MATCH_SETTINGS)
}

/** The template without the names of its parameters, `/api/v1/users/{}`: two spellings of one path are equal. */
export function shapeOf (template: string): string {
  return template.replace(/\{[^{}/]*\}/g, '{}')
}
