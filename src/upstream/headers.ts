import { holdsClientKey } from '../domain/client.js'
import { reject, type Rejection } from '../domain/rejection.js'
import { remembered } from '../domain/remembered.js'

/** Most header lines that a request may have (architecture: 16 kB and 100 of them). */
export const MAX_REQUEST_HEADERS = 100

/**
 * What a request header is to the gate. FORWARD passes to Okta (facts.md names what clients send); ONCE may stand
 * there once only, because two parsers could pick different ones.
 */
const FORWARD = 1
const ONCE = 2
const CONNECTION = 4
const TRANSFER_ENCODING = 8
const CONTENT_LENGTH = 16
const ACCEPT_ENCODING = 32
const HOST = 64
const EXPECT = 128
const UPGRADE = 256

interface Meaning { readonly kind: number, readonly bit: number }

const REQUEST_HEADERS: ReadonlyMap<string, Meaning> = new Map([
  ['accept', FORWARD],
  ['accept-language', FORWARD],
  ['accept-encoding', FORWARD | ACCEPT_ENCODING],
  ['content-type', FORWARD | ONCE],
  ['content-encoding', FORWARD | ONCE],
  ['if-match', FORWARD],
  ['if-none-match', FORWARD],
  ['if-modified-since', FORWARD],
  ['prefer', FORWARD],
  ['user-agent', FORWARD],
  ['x-okta-user-agent-extended', FORWARD],
  ['x-okta-retry-for', FORWARD],
  ['x-okta-retry-count', FORWARD],
  ['oktaaccessgateway-agent', FORWARD],
  ['host', ONCE | HOST],
  ['authorization', ONCE],
  ['content-length', ONCE | CONTENT_LENGTH],
  ['transfer-encoding', ONCE | TRANSFER_ENCODING],
  ['te', ONCE],
  ['expect', ONCE | EXPECT],
  ['upgrade', UPGRADE],
  ['connection', CONNECTION]
].map(([name, kind], index) => [name as string, { kind: kind as number, bit: 1 << index }] as const))

const NAME = /^[A-Za-z0-9-]+$/
const OTHER: Meaning = { kind: 0, bit: 0 }
const MALFORMED: Meaning = { kind: 0, bit: 0 }
/** Of a name in the case in which it came. */
const meaningOf = remembered((name): Meaning => REQUEST_HEADERS.get(name.toLowerCase()) ?? (NAME.test(name) ? OTHER : MALFORMED))
const OUTSIDE_TEXT = /[^\x20-\x7e]/
/** RFC 9110 section 7.2: a host, which may be empty, and a port. It decides nothing here; what is none is refused (RFC 9112 section 3.2). */
const AUTHORITY = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::\d*)?$/

/**
 * Judges the header lines of a request as they arrived, before anything looks at them: names outside
 * [A-Za-z0-9-] (the underscore too), control characters and obs-text in values, repeated lines of the headers that
 * decide framing, identity or media type, any Transfer-Encoding but exactly `chunked`, Transfer-Encoding beside
 * Content-Length (RFC 9112 section 6.1), a Connection that names a header the gate needs, an upgrade, an Expect other
 * than 100-continue, a Host that is no host, and more than 100 lines.
 *
 * @param rawHeaders node's IncomingMessage.rawHeaders: name, value, name, value …
 * @param method when given, GET and HEAD with a body are refused too
 * @returns the refusal (`bad_header` or `bad_framing`), or undefined when all is well
 */
export function checkRequestHeaders (rawHeaders: readonly string[], method?: string): Rejection | undefined {
  if (rawHeaders.length > MAX_REQUEST_HEADERS * 2) {
    return reject('bad_header', { causes: [`there are more than ${MAX_REQUEST_HEADERS} headers`] })
  }
  let seen = 0
  let kinds = 0
  let length: string | undefined
  // Node's parser overlooks an upgrade whose option has a tab behind it.
  let upgrades = false
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const value = rawHeaders[i + 1]!
    if (OUTSIDE_TEXT.test(value)) return reject('bad_header', { causes: ['a header value holds a character outside printable ASCII'] })
    const known = meaningOf(rawHeaders[i]!)
    if (known === OTHER) continue
    if (known === MALFORMED) return reject('bad_header', { causes: ['a header name holds a character other than letters, digits and hyphens'] })
    const { kind, bit } = known
    if ((kind & ONCE) !== 0 && (seen & bit) !== 0) return repeated(rawHeaders[i]!, kind)
    seen |= bit
    kinds |= kind
    if ((kind & CONTENT_LENGTH) !== 0) length = value
    if ((kind & TRANSFER_ENCODING) !== 0 && value.toLowerCase() !== 'chunked') {
      return reject('bad_framing', { causes: ['the only Transfer-Encoding that is accepted is chunked'] })
    }
    if ((kind & HOST) !== 0 && !AUTHORITY.test(value)) return reject('bad_header', { causes: ['Host is not a host and a port'] })
    // Node answers 100 whenever the words stand anywhere in the value.
    if ((kind & EXPECT) !== 0 && value.toLowerCase() !== '100-continue') return reject('bad_header', { causes: ['the only expectation that is met is 100-continue'] })
    if ((kind & CONNECTION) !== 0 && !isPlainConnection(value)) {
      const named = optionsOf(value)
      if (named.some(isNeeded)) return reject('bad_header', { causes: ['Connection names a header that belongs to the request itself'] })
      upgrades ||= named.includes('upgrade')
    }
  }
  if (upgrades && (kinds & UPGRADE) !== 0) return reject('bad_framing', { causes: ['no upgrade to another protocol is offered'] })
  return checkFraming(kinds, length, method)
}

function repeated (name: string, kind: number): Rejection {
  const framing = (kind & (CONTENT_LENGTH | TRANSFER_ENCODING)) !== 0
  return reject(framing ? 'bad_framing' : 'bad_header', { causes: [`the header ${name} is repeated`] })
}

function checkFraming (kinds: number, length: string | undefined, method: string | undefined): Rejection | undefined {
  const chunked = (kinds & TRANSFER_ENCODING) !== 0
  if (chunked && length !== undefined) {
    return reject('bad_framing', { causes: ['Content-Length and Transfer-Encoding stand side by side'] })
  }
  if ((method === 'GET' || method === 'HEAD') && (chunked || (length !== undefined && !/^0+$/.test(length)))) {
    return reject('bad_framing', { causes: [`${method} takes no body`] })
  }
  return undefined
}

/** What nearly every client sends. */
function isPlainConnection (value: string): boolean {
  return value === 'keep-alive' || value === 'close' || value === 'Keep-Alive'
}

function optionsOf (value: string): readonly string[] {
  return value.split(',').map(option => option.trim().toLowerCase())
}

/** `Connection: content-type` would have a proxy drop what was judged (GHSA-gwhp-pf74-vj37 is of that kind). */
function isNeeded (name: string): boolean {
  const kind = REQUEST_HEADERS.get(name)?.kind
  return kind !== undefined && (kind & (FORWARD | CONTENT_LENGTH | TRANSFER_ENCODING)) !== 0
}

/**
 * The headers that go to Okta, built fresh: only the lines of the allowlist, as they came, in their order.
 * Authorization, Cookie, DPoP, forwarding and override headers, Expect, TE, Trailer and all hop-by-hop headers are
 * not on it. `Host` and the one exact `Content-Length` (0 for a POST, PUT or PATCH without a body) are undici's,
 * from the origin and from the Buffer that is sent; the credential is the interceptor's.
 *
 * @param rawHeaders lines that checkRequestHeaders has accepted
 * @param identity true: ask for an uncompressed answer, whose `_links` can be rewritten
 * @returns a new flat list: name, value, name, value …
 */
export function forwardedHeaders (rawHeaders: readonly string[], identity = false): string[] {
  const headers: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const { kind } = meaningOf(rawHeaders[i]!)
    if ((kind & FORWARD) === 0 || (identity && (kind & ACCEPT_ENCODING) !== 0)) continue
    headers.push(rawHeaders[i]!, rawHeaders[i + 1]!)
  }
  if (identity) headers.push('accept-encoding', 'identity')
  return headers
}

/** True when a client key stands in a header that would go to Okta. @param rawHeaders lines that checkRequestHeaders has accepted */
export function forwardsClientKey (rawHeaders: readonly string[]): boolean {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (holdsClientKey(rawHeaders[i + 1]!) && (meaningOf(rawHeaders[i]!).kind & FORWARD) !== 0) return true
  }
  return false
}
