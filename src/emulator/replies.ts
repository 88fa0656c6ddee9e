import { createHash, randomUUID } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import { errorText, type Answer } from './answers.js'
import type { Admission } from './rate.js'

const GZIP_FROM_BYTES = 8192

// As recorded in 2025 and 2026 (facts.md, Response headers); the content security policy is left out.
const EARLY = ['Server', 'nginx', 'Strict-Transport-Security', 'max-age=315360000; includeSubDomains', 'x-content-type-options', 'nosniff']
const USUAL = [
  ...EARLY,
  'Cache-Control', 'no-cache, no-store',
  'Expires', '0',
  'Pragma', 'no-cache',
  'p3p', 'CP="HONK"',
  'referrer-policy', 'strict-origin-when-cross-origin',
  'x-xss-protection', '0',
  'accept-ch', 'Sec-CH-UA-Platform-Version',
  'Set-Cookie', 'sid="";Version=1;Path=/;Max-Age=0',
  'Set-Cookie', 'xids="";Version=1;Path=/;Max-Age=0',
  'Set-Cookie', 'autolaunch_triggered=""; Expires=Thu, 01 Jan 1970 00:00:10 GMT; Path=/'
]

/** Writes Date in the second it belongs to, once. */
export class DateLine {
  #second = 0
  #text = ''

  /** IMF-fixdate of an epoch millisecond */
  at (now: number): string {
    const second = Math.floor(now / 1000)
    if (second !== this.#second || this.#text === '') {
      this.#second = second
      this.#text = new Date(second * 1000).toUTCString()
    }
    return this.#text
  }
}

/** What else stands in an answer's head. */
export interface Head {
  readonly date: string
  readonly admission?: Admission
  /** the client takes gzip */
  readonly gzip: boolean
}

/** Sends an answer with Okta's headers: each `Link` and `Set-Cookie` a line of its own. */
export function reply (response: ServerResponse, answer: Answer, head: Head): void {
  const lines = [...(answer.early === true ? EARLY : USUAL), 'Date', head.date]
  const id = randomUUID().replaceAll('-', '')
  if (answer.early !== true) lines.push('X-Okta-Request-Id', id, 'Set-Cookie', `JSESSIONID=${id.toUpperCase()}; Path=/; Secure; HttpOnly`)
  const { admission } = head
  if (admission !== undefined) {
    lines.push('X-Rate-Limit-Limit', String(admission.limit), 'X-Rate-Limit-Remaining', String(admission.remaining), 'X-Rate-Limit-Reset', String(admission.reset))
  }
  lines.push(...answer.headers)
  const text = answer.error === undefined ? answer.body : errorText(answer.error, `oae${Buffer.from(id.slice(0, 32), 'hex').toString('base64url')}`)
  sendBody(response, answer.status, lines, text, head.gzip)
}

function sendBody (response: ServerResponse, status: number, lines: string[], text: string | undefined, gzip: boolean): void {
  if (text === undefined) {
    response.writeHead(status, lines)
    response.end()
    return
  }
  let bytes: Buffer = Buffer.from(text)
  if (bytes.length > 0) lines.push('Content-Type', 'application/json')
  if (gzip && bytes.length >= GZIP_FROM_BYTES) {
    bytes = gzipSync(bytes, { level: 1 })
    lines.push('Content-Encoding', 'gzip', 'Vary', 'Accept-Encoding')
  }
  lines.push('Content-Length', String(bytes.length))
  response.writeHead(status, lines)
  response.end(bytes)
}

/** SHA-256 as hex. */
export function sha256 (bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
