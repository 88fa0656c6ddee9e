import { remembered } from '../domain/remembered.js'

/** Rewrites of the two headers that hold URLs of Okta; what to write is the caller's business. */
export interface LocationRewrites {
  /** one Link line in, one out; undefined drops it */
  readonly link: (value: string) => string | undefined
  /** undefined drops the line */
  readonly location: (value: string) => string | undefined
}

/** What the limiter learns from; texts as Okta sent them. */
export interface RateHeaders {
  readonly limit?: string
  readonly remaining?: string
  readonly reset?: string
}

/** The head of an answer, filtered for the client, with the facts that the gate itself needs. */
export interface AnswerHead {
  /** flat list for writeHead: name, value … in Okta's case and order, one entry per line */
  readonly lines: string[]
  readonly rate: RateHeaders
  readonly date?: string
  readonly oktaRequestId?: string
  readonly contentType?: string
  readonly contentEncoding?: string
  /** what Okta asks for in the gate's own DPoP proofs; never the client's business */
  readonly dpopNonce?: string
  /** the first WWW-Authenticate; it goes to the client, too */
  readonly challenge?: string
  /** index of the Content-Length value in `lines`; -1 when there is none */
  readonly lengthAt: number
  /** body bytes announced by Content-Length; undefined: chunked, or to the end of the connection */
  readonly length?: number
}

const PASS = 0
const DROP = 1
const LINK = 2
const LOCATION = 3
const CONNECTION = 4
const CONTENT_LENGTH = 5
const TRANSFER_ENCODING = 6
const CONTENT_TYPE = 7
const CONTENT_ENCODING = 8
const DATE = 9
const REQUEST_ID = 10
const RATE_LIMIT = 11
const RATE_REMAINING = 12
const RATE_RESET = 13
const DPOP_NONCE = 14
const CHALLENGE = 15

// security.md 8: cookies would log a client in as the gate; Trailer beside Content-Length kills node's http;
// Alt-Svc and Clear-Site-Data speak for Okta's origin, not for ours; Refresh leads a browser elsewhere; the rest is hop-by-hop (RFC 9110 section 7.6.1).
const RESPONSE_HEADERS: ReadonlyMap<string, number> = new Map([
  ['set-cookie', DROP], ['set-cookie2', DROP], ['trailer', DROP], ['alt-svc', DROP], ['clear-site-data', DROP],
  ['keep-alive', DROP], ['te', DROP], ['upgrade', DROP], ['refresh', DROP],
  ['link', LINK], ['location', LOCATION], ['connection', CONNECTION],
  ['content-length', CONTENT_LENGTH], ['transfer-encoding', TRANSFER_ENCODING],
  ['content-type', CONTENT_TYPE], ['content-encoding', CONTENT_ENCODING],
  ['date', DATE], ['dpop-nonce', DPOP_NONCE], ['www-authenticate', CHALLENGE], ['x-okta-request-id', REQUEST_ID],
  ['x-rate-limit-limit', RATE_LIMIT], ['x-rate-limit-remaining', RATE_REMAINING], ['x-rate-limit-reset', RATE_RESET]
])

/** What becomes of a header line, by its name in the case in which it came. */
const fateOf = remembered((name): number => {
  const lower = name.toLowerCase()
  const known = RESPONSE_HEADERS.get(lower)
  if (known !== undefined) return known
  return SPEAKS_FOR_OTHERS.test(lower) || !TOKEN.test(name) ? DROP : PASS
})

// What a page of another origin may do here; hop-by-hop names; the gate's own; orders to a web server in front of the gate.
const SPEAKS_FOR_OTHERS = /^(?:access-control-|proxy-|x-narrowgate-|x-accel-|x-sendfile|x-lighttpd-send|x-reproxy-)/

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/ // eslint-disable-line no-control-regex
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json(?:[\s;]|$)/i
/** RFC 9449 section 8.1: NQCHAR. */
const NONCE = /^[\x21\x23-\x5b\x5d-\x7e]{1,1024}$/
const DIGITS = /^\d{1,15}$/

/**
 * Filters the header lines of Okta's answer: all pass as they came, but for cookies, CORS, hop-by-hop and a few more
 * (security.md 8), lines with a control character, and Link and Location, which are rewritten.
 *
 * @param raw undici's raw headers: name, value, name, value … as Buffers
 * @returns the head, or undefined when its framing is not HTTP/1.1 as we accept it: a second or malformed
 *   Content-Length, a Transfer-Encoding other than `chunked`, or both
 */
export function filterAnswer (raw: readonly Buffer[], rewrites: LocationRewrites): AnswerHead | undefined {
  const lines: string[] = []
  // Every field from the start: objects that grow by different headers have different shapes, which is slow.
  const rate: { limit?: string, remaining?: string, reset?: string } = { limit: undefined, remaining: undefined, reset: undefined }
  const head: { -readonly [K in keyof AnswerHead]: AnswerHead[K] } = {
    lines, rate, date: undefined, oktaRequestId: undefined, contentType: undefined, contentEncoding: undefined, dpopNonce: undefined, challenge: undefined, lengthAt: -1, length: undefined
  }
  let chunked = false
  let nominated: string[] | undefined
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toString('latin1')
    const fate = fateOf(name)
    if (fate === DROP) continue
    let value = raw[i + 1]!.toString('latin1')
    switch (fate) {
      case PASS: break
      case DPOP_NONCE:
        if (NONCE.test(value)) head.dpopNonce ??= value
        continue
      case CONNECTION:
        nominated = options(value, nominated)
        continue
      case TRANSFER_ENCODING:
        if (chunked || value.toLowerCase() !== 'chunked') return undefined
        chunked = true
        continue
      case CONTENT_LENGTH:
        if (head.lengthAt >= 0 || !DIGITS.test(value)) return undefined
        head.lengthAt = lines.length + 1
        head.length = Number(value)
        break
      case LINK:
      case LOCATION: {
        const rewritten = fate === LINK ? rewrites.link(value) : rewrites.location(value)
        if (rewritten === undefined) continue
        value = rewritten
        break
      }
      case CONTENT_TYPE: head.contentType ??= value; break
      case CONTENT_ENCODING: head.contentEncoding = head.contentEncoding === undefined ? value : `${head.contentEncoding}, ${value}`; break
      case CHALLENGE: head.challenge ??= value; break
      case DATE: head.date ??= value; break
      case REQUEST_ID: head.oktaRequestId ??= value; break
      case RATE_LIMIT: rate.limit = joined(rate.limit, value); break
      case RATE_REMAINING: rate.remaining = joined(rate.remaining, value); break
      case RATE_RESET: rate.reset = joined(rate.reset, value); break
    }
    if (!CONTROL.test(value)) lines.push(name, value)
  }
  if (chunked && head.lengthAt >= 0) return undefined
  return nominated === undefined ? head : withoutNominated(head, nominated)
}

/** A line that came before says something else, or the same twice: nobody can tell which applies (limits/headers.ts). */
function joined (before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}, ${value}`
}

/** Header names in a Connection line, other than the two options that every server sends. */
function options (value: string, before: string[] | undefined): string[] | undefined {
  if (value === 'keep-alive' || value === 'close') return before
  const names = value.toLowerCase().split(',').map(name => name.trim())
    .filter(name => name !== '' && name !== 'keep-alive' && name !== 'close' && RESPONSE_HEADERS.get(name) !== CONTENT_LENGTH)
  return names.length === 0 ? before : [...before ?? [], ...names]
}

function withoutNominated (head: AnswerHead, nominated: readonly string[]): AnswerHead {
  const lines: string[] = []
  let lengthAt = -1
  for (let i = 0; i < head.lines.length; i += 2) {
    if (nominated.includes(head.lines[i]!.toLowerCase())) continue
    if (i + 1 === head.lengthAt) lengthAt = lines.length + 1
    lines.push(head.lines[i]!, head.lines[i + 1]!)
  }
  return { ...head, lines, lengthAt }
}

/** An uncompressed JSON answer. */
export function isPlainJson (head: AnswerHead): boolean {
  return head.contentType !== undefined && JSON_TYPE.test(head.contentType) &&
    (head.contentEncoding === undefined || head.contentEncoding.toLowerCase() === 'identity')
}

/** Answers that have no body, whatever their Content-Length says (RFC 9112 section 6.3). */
export function isBodyless (status: number | undefined): boolean {
  return status === 204 || status === 304
}

/** The lines with another Content-Length. */
export function withLength (head: AnswerHead, length: number): string[] {
  return head.lengthAt < 0 ? [...head.lines, 'Content-Length', String(length)] : head.lines.with(head.lengthAt, String(length))
}

/** RFC 9110 section 8.6: a 204 has no Content-Length; some clients would wait for the bytes. */
export function withoutLength (head: AnswerHead, lines: readonly string[]): readonly string[] {
  return head.lengthAt < 0 || head.length === 0 ? lines : lines.toSpliced(head.lengthAt - 1, 2)
}
