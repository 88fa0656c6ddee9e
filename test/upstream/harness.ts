import { createServer, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import type { Method } from '../../src/domain/operation.js'
import { isRejection } from '../../src/domain/rejection.js'
import { Secret } from '../../src/domain/secret.js'
import { parseTarget } from '../../src/domain/target.js'
import { createUpstreamPool, type UpstreamPoolOptions } from '../../src/upstream/agent.js'
import { createApiToken } from '../../src/upstream/api-token.js'
import { forward } from '../../src/upstream/forward.js'
import { forwardedHeaders } from '../../src/upstream/headers.js'
import { injectCredential, type Credentials } from '../../src/upstream/inject.js'
import type { AnswerFacts, ForwardCall, ForwardResult } from '../../src/upstream/result.js'

type Teardown = { teardown: (end: () => unknown) => void }

/** A scripted upstream: each connection is handed raw, every byte that it received is kept. */
export interface RawUpstream { readonly port: number, readonly received: Buffer[], connections: number, requests: number, closed: number, open: Set<Socket> }

export async function rawUpstream (t: Teardown, onRequest: (socket: Socket, head: string, count: number) => void, tls?: TlsOptions): Promise<RawUpstream> {
  const upstream: RawUpstream = { port: 0, received: [], connections: 0, requests: 0, closed: 0, open: new Set() }
  const onSocket = (socket: Socket): void => {
    upstream.connections++
    upstream.open.add(socket)
    let pending = ''
    socket.on('error', () => {}).on('close', () => { upstream.open.delete(socket); upstream.closed++ })
    socket.on('data', chunk => {
      upstream.received.push(chunk)
      pending += chunk.toString('latin1')
      for (;;) {
        const end = pending.indexOf('\r\n\r\n')
        if (end < 0) return
        const head = pending.slice(0, end)
        const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0)
        if (pending.length < end + 4 + length) return
        pending = pending.slice(end + 4 + length)
        onRequest(socket, head, ++upstream.requests)
      }
    })
  }
  const server = tls === undefined ? createTcpServer(onSocket) : createTlsServer(tls, onSocket)
  server.on('tlsClientError', () => {})
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { for (const socket of upstream.open) socket.destroy(); server.close() })
  return Object.assign(upstream, { port: (server.address() as AddressInfo).port })
}

export interface GateOptions {
  readonly org: string
  readonly credentials?: Credentials
  readonly credential?: ForwardCall['credential']
  readonly pool?: Partial<UpstreamPoolOptions>
  readonly call?: Partial<ForwardCall>
}

export interface Gate { readonly port: number, readonly results: ForwardResult[], readonly heads: AnswerFacts[], next: () => Promise<ForwardResult> }

export const TOKEN = '00CANARY-upstream-token'
export const apiToken = (text = TOKEN): Credentials => ({ upstream: createApiToken({ token: secretOf(text), exceptionExpiresAt: Infinity, now: Date.now }) })
const secretOf = (text: string): () => Secret => { const secret = new Secret(text); return () => secret }

const TIMEOUTS = { connectMs: 500, headersMs: 600, idleMs: 400, stalledMs: 500 }

/** A bare gate: forward() behind node:http, everything else left out. */
export async function gate (t: Teardown, options: GateOptions): Promise<Gate> {
  const timeouts = { ...TIMEOUTS, ...options.call?.timeouts }
  const pool = createUpstreamPool({ org: options.org, connections: 8, ...timeouts, ...options.pool })
  const dispatch = injectCredential(options.credentials ?? apiToken())(pool.dispatch.bind(pool))
  const waiting: ((result: ForwardResult) => void)[] = []
  const state: Gate = { port: 0, results: [], heads: [], next: () => new Promise(resolve => waiting.push(resolve)) }
  const server = createServer((request, reply) => {
    const chunks: Buffer[] = []
    request.on('error', () => {})
    request.on('data', chunk => chunks.push(chunk)).on('end', () => {
      const target = parseTarget(request.url!)
      if (isRejection(target)) throw new Error(target.code)
      forward({
        dispatch,
        method: request.method as Method,
        target,
        headers: forwardedHeaders(request.rawHeaders),
        body: chunks.length === 0 ? null : Buffer.concat(chunks),
        credential: options.credential ?? 'upstream',
        rewrites: { link: value => value.replace('okta', 'gate'), location: value => value },
        clock: () => performance.now(),
        ...options.call,
        timeouts
      }, reply, { onHeaders: facts => { state.heads.push(facts) } }).then(result => {
        if (result.kind === 'failed' || result.kind === 'credential_refused') reply.writeHead(502).end('refused by the gate')
        state.results.push(result)
        waiting.shift()?.(result)
      }, error => { state.results.push(error) })
    })
  })
  server.keepAliveTimeout = 0
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(async () => { server.closeAllConnections(); server.close(); await pool.destroy() })
  return Object.assign(state, { port: (server.address() as AddressInfo).port })
}

export interface Answer { readonly status: number, readonly reason: string, readonly headers: IncomingHttpHeaders, readonly rawHeaders: readonly string[], readonly body: Buffer, readonly whole: boolean }

export interface Sent { readonly path?: string, readonly method?: string, readonly headers?: Record<string, string>, readonly body?: string | Buffer }

/** One request to the gate; an answer that breaks off is `whole: false`, a connection without an answer rejects. */
export function ask (port: number, sent: Sent = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { path = '/api/v1/users', method = 'GET', headers = {}, body } = sent
    const request = httpRequest({ port, host: '127.0.0.1', path, method, headers: body === undefined ? headers : { 'content-length': String(Buffer.byteLength(body)), ...headers }, agent: false }, response => {
      const chunks: Buffer[] = []
      const done = (whole: boolean) => (): void => resolve({ status: response.statusCode!, reason: response.statusMessage!, headers: response.headers, rawHeaders: response.rawHeaders, body: Buffer.concat(chunks), whole })
      response.on('data', chunk => chunks.push(chunk)).on('end', done(true)).on('error', done(false))
    })
    request.on('error', reject).end(body)
  })
}

/** A raw client; `text` is written at once. */
export async function rawClient (port: number, text: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  await new Promise<void>(resolve => socket.once('connect', resolve))
  socket.write(text)
  return socket
}

export const later = (ms: number): Promise<void> => new Promise(resolve => { setTimeout(resolve, ms) })

/** Waits until something is true, for at most two seconds. */
export async function until (test: () => boolean): Promise<boolean> {
  for (let i = 0; i < 200; i++) {
    if (test()) return true
    await later(10)
  }
  return test()
}
