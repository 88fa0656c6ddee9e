import { randomBytes } from 'node:crypto'
import { createServer as createPlainServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { generateKeyPair } from 'jose'
import { publishedLimit, type OrgType } from '../okta/buckets.js'
import { revoke } from './admin.js'
import { failure } from './answers.js'
import type { ServiceApp } from './apps.js'
import { SeenOnce } from './dpop.js'
import { createDesk, type Desk, type Settled } from './desk.js'
import { seedOrg, type ApiTokenSeed } from './org.js'
import { RateLimits, type BucketCount } from './rate.js'
import { ReceivedLog, authorizationKind, type Received } from './received.js'
import { DateLine, reply, sha256 } from './replies.js'
import { createRouter } from './routes.js'
import type { Org } from './state.js'
import { announcesBody } from './bodies.js'

/** What the emulated org is like. Everything has a default. */
export interface EmulatorOptions {
  readonly host?: string
  /** 0: any free one */
  readonly port?: number
  /** PEM; absent: plain HTTP */
  readonly tls?: { readonly cert: string | Buffer, readonly key: string | Buffer }
  /** absolute URL under which clients know it, without a slash at the end; by default that of the socket */
  readonly origin?: string
  readonly orgType?: OrgType
  /** how long an answer is held back, milliseconds */
  readonly latencyMs?: number
  /** a token's or app's part of the org's limits, 0..1 */
  readonly principalShare?: number
  /** requests in flight, of the whole org */
  readonly concurrency?: number
  readonly apiTokens?: readonly ApiTokenSeed[]
  readonly serviceApps?: readonly ServiceApp[]
  /** how many users are seeded */
  readonly users?: number
  /** epoch milliseconds */
  readonly now?: () => number
  /** multiplies every limit */
  readonly rateLimitScale?: number
  /** org limits per minute by bucket key, instead of the published ones */
  readonly rateLimits?: Readonly<Record<string, number>>
  readonly tokenLifetimeSeconds?: number
  /** how many received requests are kept at least */
  readonly receivedSize?: number
}

/** A fault to inject: `status` 0 hangs up instead of answering. */
interface Fault { remaining: number, readonly status: number, readonly matches: (request: Received) => boolean }

/** A running org. */
export interface Emulator {
  readonly url: string
  readonly port: number
  /** the org's state; tests may change it */
  readonly org: Org
  readonly received: ReceivedLog
  /** calls by rate limit bucket */
  counts (): readonly BucketCount[]
  /** most requests that were in flight at once */
  readonly peakInFlight: number
  setLatency (milliseconds: number): void
  /** the next n requests (that match) answer with this status instead of being handled; 0 hangs up */
  failNext (n: number, status: number, matches?: (request: Received) => boolean): void
  /** spends limits as somebody else would; `principal` is a token's id or a client id */
  consume (bucket: string, count: number, principal?: string): void
  /** revokes an API token or an access token by its value */
  revokeToken (value: string): void
  close (): Promise<void>
}

/** Starts an Okta org in memory, for the demo and for tests. */
export async function startEmulator (options: EmulatorOptions = {}): Promise<Emulator> {
  const now = options.now ?? Date.now
  const share = options.principalShare ?? 0.5
  const org = seedOrg({
    apiTokens: options.apiTokens ?? [], serviceApps: options.serviceApps ?? [], users: options.users ?? 10, principalPercentage: Math.round(share * 100)
  }, randomBytes, now())
  const rate = new RateLimits(limitsOf(options), share)
  const { privateKey } = await generateKeyPair('ES256')
  const issuer = {
    org, key: privateKey, nonceSecret: org.secret(''), lifetimeSeconds: options.tokenLifetimeSeconds ?? 3600, assertions: new SeenOnce(), proofs: new SeenOnce()
  }
  const desk = createDesk({ org, router: createRouter(), rate, issuer, concurrency: options.concurrency ?? 75 })
  const front = new FrontDoor(desk, now, options.latencyMs ?? 0, new ReceivedLog(options.receivedSize ?? 10_000))
  const listener: RequestListener = (request, response) => { front.accept(request, response) }
  const server: Server = options.tls === undefined ? createPlainServer(listener) : createTlsServer(options.tls, listener)
  const port = await listen(server, options)
  const url = options.origin ?? `${options.tls === undefined ? 'http' : 'https'}://${options.host ?? '127.0.0.1'}:${port}`
  org.origin = url
  return {
    url,
    port,
    org,
    received: front.received,
    counts: () => rate.counts(),
    get peakInFlight () { return front.peak },
    setLatency: milliseconds => { front.latencyMs = milliseconds },
    failNext: (n, status, matches = () => true) => { front.faults.push({ remaining: n, status, matches }) },
    consume: (bucket, count, principal) => { rate.consume(bucket, count, principal, now()) },
    revokeToken: value => { revokeToken(org, value) },
    close: () => close(server)
  }
}

function limitsOf (options: EmulatorOptions): (bucket: string) => number {
  const { rateLimits = {}, rateLimitScale = 1, orgType = 'workforce' } = options
  return bucket => Object.hasOwn(rateLimits, bucket) ? rateLimits[bucket]! : Math.floor(publishedLimit(bucket, orgType) * rateLimitScale)
}

function listen (server: Server, options: EmulatorOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, options.host ?? '127.0.0.1', () => { resolve((server.address() as AddressInfo).port) })
  })
}

function close (server: Server): Promise<void> {
  return new Promise(resolve => {
    server.close(() => { resolve() })
    server.closeAllConnections()
  })
}

function revokeToken (org: Org, value: string): void {
  org.accessTokens.delete(value)
  const token = org.apiTokenValues.get(value)
  if (token !== undefined) revoke(org, token)
}

/** Receives requests, keeps book, hands them to the desk and sends what it says. */
class FrontDoor {
  readonly faults: Fault[] = []
  inFlight = 0
  peak = 0
  readonly #date = new DateLine()

  constructor (readonly desk: Desk, readonly now: () => number, public latencyMs: number, readonly received: ReceivedLog) {}

  accept (request: IncomingMessage, response: ServerResponse): void {
    const entry: Received = {
      time: this.now(), method: request.method ?? '', target: request.url ?? '', headers: request.rawHeaders, authorization: authorizationKind(request.headers.authorization), bodyBytes: 0
    }
    this.received.add(entry)
    this.inFlight++
    this.peak = Math.max(this.peak, this.inFlight)
    response.once('close', () => {
      this.inFlight--
      if (!response.writableEnded) entry.aborted = true
    })
    if (announcesBody(request.headers)) this.#collect(request, response, entry)
    else this.#settle(request, response, entry, Buffer.alloc(0))
  }

  #collect (request: IncomingMessage, response: ServerResponse, entry: Received): void {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => { chunks.push(chunk) })
    request.once('end', () => {
      const body = Buffer.concat(chunks)
      entry.bodyBytes = body.length
      entry.bodySha256 = sha256(body)
      this.#settle(request, response, entry, body)
    })
  }

  #settle (request: IncomingMessage, response: ServerResponse, entry: Received, body: Buffer): void {
    const fault = this.faults.find(each => each.remaining > 0 && each.matches(entry))
    if (fault !== undefined) {
      this.#misbehave(fault, request, response, entry)
      return
    }
    const settled = this.desk.handle(request, body, this.inFlight, this.now())
    if (!(settled instanceof Promise)) this.#answer(request, response, entry, settled)
    else settled.then(done => { this.#answer(request, response, entry, done) }, () => { this.#answer(request, response, entry, { answer: failure('E0000009') }) })
  }

  #misbehave (fault: Fault, request: IncomingMessage, response: ServerResponse, entry: Received): void {
    fault.remaining--
    if (fault.status === 0) request.socket.destroy()
    else this.#answer(request, response, entry, { answer: failure('E0000009', { status: fault.status }) })
  }

  #answer (request: IncomingMessage, response: ServerResponse, entry: Received, settled: Settled): void {
    if (this.latencyMs > 0) setTimeout(() => { this.#send(request, response, entry, settled) }, this.latencyMs)
    else this.#send(request, response, entry, settled)
  }

  #send (request: IncomingMessage, response: ServerResponse, entry: Received, settled: Settled): void {
    if (response.destroyed) return
    entry.status = settled.answer.status
    const gzip = request.headers['accept-encoding']?.includes('gzip') === true
    reply(response, settled.answer, { date: this.#date.at(this.now()), admission: settled.admission, gzip })
  }
}
