import type { IncomingMessage, ServerResponse } from 'node:http'
import { rejections, type Rejection, type RejectionCode } from '../domain/rejection.js'
import { errorBody } from '../okta/error-body.js'
import { noteClosing } from './connection.js'
import { rest } from './pace.js'

/** How long an unread request body is drained after a refusal, so that the client sees the answer and no reset. */
const LINGER_MS = 1000
/** Bodies up to this size are read away and the connection stays open; the rest closes it. */
const LINGER_BYTES = 65_536

/** How soon a call may be repeated when nothing better is known, in milliseconds. */
const RETRY_MS = 5000

/** True for refusals that invite a retry: they carry the rate limit headers that Okta's SDKs compute their wait from. */
export function invitesRetry (rejection: Rejection): boolean {
  const { status } = rejections[rejection.code]
  return status === 429 || status === 503 || status === 504 ||
    rejection.code === 'upstream_unreachable' || rejection.code === 'upstream_credential'
}

/**
 * Headers of a refusal, as a flat list. One integer `X-Rate-Limit-Reset`: Okta's Node SDK refuses to retry
 * when it holds a comma; Node, Go and Python compute the wait as Reset minus Date plus one second.
 */
export function rejectionHeaders (rejection: Rejection, id: string, length: number, now: number): string[] {
  const headers = [
    'Content-Type', 'application/json',
    'Content-Length', String(length),
    'Cache-Control', 'no-cache, no-store',
    'Date', new Date(now).toUTCString(),
    'X-Narrowgate-Request-Id', id
  ]
  if (rejections[rejection.code].status === 401) headers.push('WWW-Authenticate', rejection.challenge ?? 'SSWS realm="narrowgate"')
  if (rejection.allow !== undefined) headers.push('Allow', rejection.allow.join(', '))
  if (invitesRetry(rejection)) {
    const untilMs = Math.max(rejection.wait?.untilMs ?? now + RETRY_MS, now)
    headers.push(
      'X-Rate-Limit-Limit', String(rejection.wait?.limit ?? 1),
      'X-Rate-Limit-Remaining', String(rejection.wait?.remaining ?? 0),
      'X-Rate-Limit-Reset', String(Math.ceil(untilMs / 1000)),
      'Retry-After', String(Math.max(1, Math.ceil((untilMs - now) / 1000)))
    )
  }
  return headers
}

/** What was made of a refusal. */
export interface WrittenRejection {
  /** of its body; 0 when the client was gone */
  readonly bytes: number
  /** sends it, where that has not been done */
  readonly send?: () => void
}

const NOBODY: WrittenRejection = { bytes: 0 }

/**
 * Makes a refusal in Okta's own form and ends the answer with it. A body that the client is still sending is drained
 * for a moment, so that the client reads the refusal instead of a reset.
 *
 * @param spend notes bytes of it that were read; how long to rest then, milliseconds
 */
export function writeRejection (request: IncomingMessage, response: ServerResponse, rejection: Rejection, id: string, now: number, spend: (bytes: number) => number): WrittenRejection {
  if (response.headersSent || response.destroyed) { response.destroy(); return NOBODY }
  const body = errorBody(rejection, id)
  const bytes = Buffer.byteLength(body)
  const headers = rejectionHeaders(rejection, id, bytes, now)
  const unread = unreadBytes(request)
  const closing = unread > LINGER_BYTES || closes(rejection)
  if (closing) {
    headers.push('Connection', 'close')
    noteClosing(request.socket, request)
  }
  response.writeHead(rejections[rejection.code].status, headers)
  if (!closing || unread === 0) return { bytes, send: () => { if (!response.destroyed) response.end(body) } }
  linger(request, response, body, spend)
  return { bytes }
}

const CLOSING: ReadonlySet<RejectionCode> = new Set(['bad_request', 'bad_header', 'bad_framing', 'request_timeout', 'draining', 'overloaded'])

/** A head that two parsers may read in different ways has, for one of them, a body where the other sees the next request. */
export function closes (rejection: Rejection): boolean {
  return CLOSING.has(rejection.code)
}

function unreadBytes (request: IncomingMessage): number {
  if (request.complete) return 0
  if (request.headers['transfer-encoding'] !== undefined) return Infinity
  return Number(request.headers['content-length'] ?? 0)
}

function linger (request: IncomingMessage, response: ServerResponse, body: string | Buffer, spend: (bytes: number) => number): void {
  response.write(body)
  const end = (): void => { clearTimeout(timer); response.end() }
  const timer = setTimeout(end, LINGER_MS)
  request.once('end', end).once('close', end).on('error', () => {})
  request.on('data', (chunk: Buffer) => {
    const restMs = spend(chunk.length)
    if (restMs > 0) rest(request, restMs)
  })
  request.resume()
}
