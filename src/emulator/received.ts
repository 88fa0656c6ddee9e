/** How a request was authenticated, by its header alone. */
export type AuthorizationKind = 'none' | 'SSWS' | 'Bearer' | 'DPoP' | 'other'

/** One request as it arrived, whatever became of it. */
export interface Received {
  /** epoch milliseconds, by the emulator's clock */
  readonly time: number
  readonly method: string
  /** raw request target */
  readonly target: string
  /** name, value, name, value …, as they stood on the wire */
  readonly headers: readonly string[]
  readonly authorization: AuthorizationKind
  /** body bytes that arrived; SHA-256 as hex, absent without a body */
  bodyBytes: number
  bodySha256?: string
  /** what was answered; absent while it waits or when the client left */
  status?: number
  /** the client hung up before its answer */
  aborted?: boolean
}

/** Says how a request presents itself. */
export function authorizationKind (header: string | undefined): AuthorizationKind {
  if (header === undefined) return 'none'
  const scheme = header.slice(0, Math.max(0, header.indexOf(' '))).toLowerCase()
  return scheme === 'ssws' ? 'SSWS' : scheme === 'bearer' ? 'Bearer' : scheme === 'dpop' ? 'DPoP' : 'other'
}

/** The values of a header in a received request, each line of its own. */
export function headerLines (request: Received, name: string): string[] {
  const wanted = name.toLowerCase()
  return request.headers.filter((_, index) => index % 2 === 1 && request.headers[index - 1]?.toLowerCase() === wanted)
}

/** Something that must never arrive at Okta, and did. */
export interface Tripped {
  readonly index: number
  readonly target: string
  readonly what: string
}

const NEVER = [
  'cookie', 'forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip', 'via', 'x-http-method-override',
  'x-original-url', 'x-rewrite-url', 'proxy-authorization', 'x-method-override', 'x-http-method'
]

/**
 * Looks for what a gate must not let through: client keys anywhere, cookies, forwarding and override headers, a DPoP
 * proof beside another scheme than DPoP (the token endpoint apart).
 *
 * @param secrets texts of clients' keys
 */
export function findTripped (requests: readonly Received[], secrets: readonly string[] = []): Tripped[] {
  const found: Tripped[] = []
  for (const [index, request] of requests.entries()) {
    const trip = (what: string): void => { found.push({ index, target: request.target, what }) }
    for (const name of NEVER) if (headerLines(request, name).length > 0) trip(`header ${name}`)
    const proofs = headerLines(request, 'dpop').length
    if (proofs > 0 && request.authorization !== 'DPoP' && !request.target.startsWith('/oauth2/v1/token')) trip('header dpop')
    for (const secret of secrets) if (request.target.includes(secret) || request.headers.some(value => value.includes(secret))) trip('a client key')
  }
  return found
}

/** The requests of late, oldest first, and how many there were in all. */
export class ReceivedLog {
  readonly #requests: Received[] = []
  readonly #size: number
  count = 0

  constructor (size: number) {
    this.#size = size
  }

  /** the last `size` requests; a live array */
  get all (): readonly Received[] {
    return this.#requests
  }

  add (request: Received): void {
    this.count++
    this.#requests.push(request)
    // In halves: shifting one off for every request would cost more than the request.
    if (this.#requests.length > 2 * this.#size) this.#requests.splice(0, this.#requests.length - this.#size)
  }

  clear (): void {
    this.count = 0
    this.#requests.length = 0
  }
}
