import { reject, type Rejection } from './rejection.js'

/** One `name=value` of a query, decoded once, `+` as a space. */
export interface QueryParameter {
  readonly name: string
  readonly value: string
  /** the raw text holds `;`, `[` or `]`, which servers read in different ways: refused wherever a condition looks */
  readonly ambiguous: boolean
}

/** A raw request target, parsed once. What was judged is what is sent: `raw`, byte for byte. */
export interface Target {
  /** the target as received */
  readonly raw: string
  /** the part before `?`, as received */
  readonly path: string
  /** segments as received; what literals of the catalogue are compared with */
  readonly rawSegments: readonly string[]
  /** segments decoded once; what parameters are judged by */
  readonly segments: readonly string[]
  readonly query: readonly QueryParameter[]
}

/** Longest target that is read, in bytes. */
export const MAX_TARGET_BYTES = 4096

const NO_ALIASES: ReadonlySet<string> = new Set()
const NO_QUERY: readonly QueryParameter[] = []

// RFC 3986 allows none of these raw, and servers, proxies and URL parsers treat them in different ways.
const FORBIDDEN = /[^\x21-\x7e]|[\\#"<>^`{|}]/
// RFC 3986 unreserved: an encoded one is a second spelling of the same thing.
const UNRESERVED = /^[A-Za-z0-9\-._~]$/
// What a decoded segment may hold: ids, logins, ORNs, file-like names. All else reaches Okta by id or not at all.
const SEGMENT = /^[A-Za-z0-9\-._~@+!$&'()*,=: ]+$/
const CONTROL = /[\x00-\x1f\x7f]/ // eslint-disable-line no-control-regex
const TRIPLET = /%(..?)?/g
const HEX = /^[0-9A-Fa-f]{2}$/

/**
 * Parses a request target in origin form (RFC 9112 section 3.2.1). Nothing is normalised: what another
 * parser could read differently is refused, with a cause that names it.
 *
 * @param raw the target as it stood on the request line
 * @param slashAliases paths that end in a slash and are known as such (`/api/v1/authn/`)
 * @returns the Target, or `bad_target`, `trailing_slash`, `double_slash`
 */
export function parseTarget (raw: string, slashAliases: ReadonlySet<string> = NO_ALIASES): Target | Rejection {
  if (raw.length > MAX_TARGET_BYTES) return bad(`it is longer than ${MAX_TARGET_BYTES} bytes`)
  if (raw.charCodeAt(0) !== 0x2f) return bad('only a path that starts with / is accepted, no absolute URL and no *')
  const forbidden = FORBIDDEN.exec(raw)
  if (forbidden !== null) return bad(`it holds ${nameOf(forbidden[0])}`)

  const mark = raw.indexOf('?')
  const path = mark < 0 ? raw : raw.slice(0, mark)
  if (path.includes('//')) return reject('double_slash')
  if (path.length > 1 && path.endsWith('/') && !slashAliases.has(path)) return reject('trailing_slash')

  const rawSegments = segmentsOf(path)
  let segments: readonly string[] = rawSegments
  if (path.includes('%')) {
    const decoded = decodeSegments(rawSegments)
    if (isText(decoded)) return bad(decoded)
    segments = decoded
  }
  for (let i = 0; i < segments.length; i++) {
    const segment = segments[i]!
    if (segment === '' && i === segments.length - 1) continue
    if (segment === '.' || segment === '..') return bad('it has a dot segment')
    // Who trims would read another name than the one that was judged.
    if (segment.startsWith(' ') || segment.endsWith(' ')) return bad('a path segment begins or ends with a space')
    if (!SEGMENT.test(segment)) return bad(`a path segment holds ${nameOf(firstOutside(segment))}`)
  }

  const query = mark < 0 ? NO_QUERY : parseQuery(raw.slice(mark + 1))
  if (isText(query)) return bad(query)
  return { raw, path, rawSegments, segments, query }
}

/** As `split` would have it, which takes twice as long for a text that is new each time. */
function segmentsOf (path: string): string[] {
  const segments: string[] = []
  let from = 1
  for (let at = path.indexOf('/', from); at >= 0; at = path.indexOf('/', from)) {
    segments.push(path.slice(from, at))
    from = at + 1
  }
  segments.push(path.slice(from))
  return segments
}

function isText (value: unknown): value is string {
  return typeof value === 'string'
}

function bad (what: string): Rejection {
  return reject('bad_target', { causes: [what] })
}

function firstOutside (segment: string): string {
  for (const character of segment) if (!SEGMENT.test(character)) return character
  return segment
}

/** Decodes each segment once; a text says what is wrong. */
function decodeSegments (raw: readonly string[]): string[] | string {
  const segments: string[] = []
  for (const segment of raw) {
    if (!segment.includes('%')) { segments.push(segment); continue }
    for (const [triplet, hex] of segment.matchAll(TRIPLET)) {
      if (hex === undefined || !HEX.test(hex)) return 'it has a % that starts no escape sequence'
      const character = String.fromCharCode(Number.parseInt(hex, 16))
      if (UNRESERVED.test(character)) return `it escapes ${character} as ${triplet}, which needs no escape`
    }
    try {
      segments.push(decodeURIComponent(segment))
    } catch {
      return 'an escape sequence is not valid UTF-8'
    }
  }
  return segments
}

function parseQuery (raw: string): QueryParameter[] | string {
  if (raw === '') return []
  const query: QueryParameter[] = []
  for (const piece of raw.split('&')) {
    const equals = piece.indexOf('=')
    const name = decodeForm(equals < 0 ? piece : piece.slice(0, equals))
    const value = equals < 0 ? '' : decodeForm(piece.slice(equals + 1))
    if (name === undefined || value === undefined) return 'the query has a bad escape sequence'
    if (CONTROL.test(name) || CONTROL.test(value)) return 'the query holds a control character'
    query.push({ name, value, ambiguous: /[;[\]]/.test(piece) })
  }
  return query
}

/** application/x-www-form-urlencoded: `+` is a space, then percent-decoding, UTF-8 only. */
function decodeForm (text: string): string | undefined {
  if (!text.includes('%')) return text.includes('+') ? text.replaceAll('+', ' ') : text
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}

function nameOf (character: string): string {
  if (character === '\\') return 'a backslash'
  if (character === '/') return 'an encoded slash'
  if (character === '%') return 'an encoded percent sign'
  if (character === ';') return 'a semicolon'
  const code = character.codePointAt(0) ?? 0
  if (code < 0x20 || code === 0x7f) return 'a control character'
  if (code > 0x7e) return 'a character outside ASCII; call by id instead'
  return `the character ${character}`
}
