import { randomUUID } from 'node:crypto'
import type { IncomingMessage, Server as HttpServer } from 'node:http'
import proxy from '@fastify/http-proxy'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { Exchange } from '../domain/exchange.js'
import { rejections, reject, type Rejection } from '../domain/rejection.js'
import { closes } from './answer.js'
import { listenForBadClients } from './bad-clients.js'
import { declaresBody } from './body.js'
import { capConnections } from './connection-caps.js'
import { hadLast, isBehindClosing, isClosing, noteArriving, noteBegun, noteClosing, noteLast, watchQueued } from './connection.js'
import { affordable } from './descriptors.js'
import { contextOf, type ListenerTls } from './listener-tls.js'
import { noSchemas } from './no-schemas.js'
import { partyOf } from './party.js'
import type { Road } from './road.js'
import { recordEvent } from './record.js'
import { refuse } from './refuse.js'
import { sourceOf } from './source.js'
import { judgeCall, readTarget, type GateExchange } from './stages.js'
import { answerToken, refuseOtherMethod, isTokenCall } from './token.js'
import { travel } from './travel.js'

declare module 'fastify' {
  interface FastifyRequest { exchange: GateExchange | null }
}

/** How much the client listener takes at once. */
export interface ListenerCaps {
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  readonly maxRequests: number
}

/** Node's own limits of the client listener, from security.md ("Must do" 11). A missing Host is refused by judge: node would answer by itself. */
const PARSER = { maxHeaderSize: 16_384, keepAliveTimeout: 60_000, headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 1000, insecureHTTPParser: false, requireHostHeader: false, keepAlive: true, keepAliveInitialDelay: 30_000 }

/**
 * The client listener: Okta's own paths and nothing else. @fastify/http-proxy mounts the one route; each request is
 * judged in onRequest, and its preHandler takes it over and forwards by our own dispatch (upstream/forward.ts), which
 * is why the stock forwarder behind it is never reached.
 */
export function buildProxy (road: Road, log: Logger, caps: ListenerCaps, tls?: ListenerTls): FastifyInstance {
  const options: Record<string, unknown> = {
    logger: false,
    schemaController: noSchemas,
    // Every target reaches the one route unread by the router: what is judged is the raw request line.
    rewriteUrl: () => '/',
    genReqId: () => '',
    requestIdHeader: false,
    exposeHeadRoutes: false,
    trustProxy: false,
    return503OnClosing: false,
    forceCloseConnections: false,
    requestTimeout: PARSER.requestTimeout,
    keepAliveTimeout: PARSER.keepAliveTimeout,
    bodyLimit: Number.MAX_SAFE_INTEGER,
    frameworkErrors: (error: unknown, request: FastifyRequest, reply: FastifyReply) => { lost(road, log, error, request, reply) },
    clientErrorHandler: () => {},
    ...tls === undefined ? { http: PARSER } : { https: { ...PARSER, handshakeTimeout: PARSER.headersTimeout, ...contextOf(tls), ...tls.ca === undefined ? {} : { requestCert: true, rejectUnauthorized: false }, ALPNProtocols: ['http/1.1'] } }
  }
  const app = fastify(options) as unknown as FastifyInstance
  const server = app.server as HttpServer
  capConnections(server, { total: affordable(caps.maxConnections, log), perAddress: caps.maxConnectionsPerAddress, counts: address => road.snapshot().trustedProxies?.contains(address) !== true, tls: tls !== undefined, now: road.now })
  server.maxHeadersCount = 0 // counted, and refused beyond 100, by checkRequestHeaders: Node would drop the rest in silence
  listenForBadClients(server, road, log)

  app.decorateRequest('exchange', null)
  app.addHook('onRequest', (request, reply, done) => {
    if (isClosing(request.raw.socket) || hadLast(request.raw.socket)) { reply.hijack(); return }
    // RFC 9112 section 9.3: a proxy keeps no connection with a client of HTTP/1.0, whatever it asks for.
    if (request.raw.httpVersion === '1.0') { reply.raw.shouldKeepAlive = false; noteLast(request.raw.socket) }
    noteBegun(request.raw)
    watchQueued(request.raw, reply.raw)
    const exchange = open(road, request.raw)
    request.exchange = exchange
    road.long.begin(exchange)
    if (declaresBody(request.raw)) noteArriving(request.raw, reply.raw, exchange)
    const begun: Begun = { road, log, caps, exchange, request, reply, done }
    const early = gateIsShut(road, exchange, caps) ?? readTarget(exchange, request.raw) ?? refuseOtherMethod(exchange)
    // At once, and not when its turn comes: what stands behind it may be another client's, whose turn comes sooner.
    if (early !== undefined && closes(early)) noteClosing(request.raw.socket, request.raw)
    const shedsStrangers = road.shedding() !== 'none'
    if (early === undefined && !shedsStrangers && isTokenCall(exchange)) {
      reply.hijack()
      if (road.turns.take(partyOf(exchange))) exchangeToken(begun)
      else later(begun, () => { exchangeToken(begun) })
      return
    }
    const refusal = early ?? judgeCall(exchange, request.raw, exchange.time)
    if (!(refusal instanceof Promise)) settle(begun, shedsStrangers, refusal)
    else if (shedsStrangers) { refusal.catch(() => {}); settle(begun, true, reject('overloaded')) } else refusal.then(found => { settle(begun, false, found) }).catch((error: unknown) => { lost(road, log, error, request, reply) })
  })
  // A body is ours to read, whatever it is called: Fastify's text/plain parser would read it away.
  app.removeAllContentTypeParsers()
  app.setErrorHandler((error, request, reply) => {
    // Media types are a matter of rules, and of Okta.
    if ((error as { code?: string }).code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') take(road, log, request, reply)
    else lost(road, log, error, request, reply)
  })
  app.setNotFoundHandler((request, reply) => { take(road, log, request, reply) })
  app.register(proxy, {
    upstream: 'http://never-dialled.invalid',
    prefix: '/',
    routes: ['/'],
    disableRequestLogging: true,
    // Takes the request over: done() is never called, so reply-from behind it never runs.
    preHandler: (request: FastifyRequest, reply: FastifyReply) => { take(road, log, request, reply) },
    handler: () => { throw new Error('the stock forwarder was reached') }
  } as unknown as Parameters<typeof proxy>[1])
  return app
}

/** A request that has been judged as far as it can be without its body. */
interface Begun {
  readonly road: Road
  readonly log: Logger
  readonly caps: ListenerCaps
  readonly exchange: GateExchange
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly done: () => void
}

/** Goes on when the turn has come. */
function later (begun: Begun, run: () => void): void {
  const { road, log, caps, exchange, request, reply } = begun
  const waits = road.turns.wait(partyOf(exchange), () => {
    // The connection may have come to an end meanwhile, or the one before it may be the last that it answers.
    if (exchange.recorded || reply.raw.destroyed || isBehindClosing(request.raw)) { left(road, exchange, reply); return }
    try { run() } catch (error) { lost(road, log, error, request, reply) }
  }, caps.maxRequests)
  if (!waits) refuseHere(road, exchange, request, reply, reject('overloaded', { causes: ['too many requests of this client are waiting'] }))
}

function settle (begun: Begun, shedsStrangers: boolean, refusal: Rejection | undefined): void {
  if (begun.road.turns.take(partyOf(begun.exchange))) goOn(begun, shedsStrangers, refusal)
  else later(begun, () => { goOn(begun, shedsStrangers, refusal) })
}

function goOn (begun: Begun, shedsStrangers: boolean, refusal: Rejection | undefined): void {
  if (refusal !== undefined) refuseSlowly(begun, shedsStrangers && rejections[refusal.code].status === 401 ? reject('overloaded') : refusal)
  else if (begun.reply.raw.destroyed) left(begun.road, begun.exchange, begun.reply)
  else begun.done()
}

function exchangeToken ({ road, log, exchange, request, reply }: Begun): void {
  answerToken(road, exchange, request.raw, reply.raw).catch((error: unknown) => { lost(road, log, error, request, reply) })
}

function refuseSlowly ({ road, log, exchange, request, reply }: Begun, refusal: Rejection): void {
  const slowed = slowGuessing(road, exchange, refusal)
  if (slowed instanceof Promise) slowed.then(found => { refuseHere(road, exchange, request, reply, found) }).catch((error: unknown) => { lost(road, log, error, request, reply) })
  else refuseHere(road, exchange, request, reply, slowed)
}

function open (road: Road, request: IncomingMessage): GateExchange {
  const snapshot = road.snapshot()
  const source = sourceOf(road, snapshot, request.socket.remoteAddress, request.headers)
  const exchange = new Exchange(snapshot, randomUUID(), road.now(), road.clock(), request.method ?? '', originalTarget(request), source) as GateExchange
  if (road.telemetry !== undefined) exchange.trace = road.telemetry.begin(exchange.id, source, request.headers['traceparent'])
  return exchange
}

/** Fastify keeps the request line's target here when rewriteUrl has replaced it. */
function originalTarget (request: IncomingMessage & { originalUrl?: string }): string {
  return request.originalUrl ?? request.url ?? ''
}

function gateIsShut (road: Road, exchange: GateExchange, { maxRequests }: ListenerCaps): Rejection | undefined {
  if (road.draining()) return reject('draining')
  if (road.long.count - road.turns.count > maxRequests || road.shedding() === 'everyone') return reject('overloaded')
  if (exchange.method === 'GET' ? road.auditFull() : !road.auditHealthy()) return reject('audit_unavailable')
  return undefined
}

/** A source that keeps presenting keys that are none is answered 429 for a growing time; a valid key always passes. */
function slowGuessing (road: Road, exchange: GateExchange, refusal: Rejection): Rejection | Promise<Rejection> {
  if (refusal.code !== 'bad_credential') return refusal
  const slowed = road.failures.failed(exchange.source, exchange.time)
  return slowed instanceof Promise ? slowed.then(found => found ?? refusal) : slowed ?? refusal
}

function refuseHere (road: Road, exchange: GateExchange, request: FastifyRequest, reply: FastifyReply, refusal: Rejection): void {
  reply.hijack()
  refuse(road, exchange, request.raw, reply.raw, refusal)
}

/** The client went away while its turn was awaited or a signature was checked. */
function left (road: Road, exchange: GateExchange, reply: FastifyReply): void {
  reply.hijack()
  exchange.aborted = true
  recordEvent(road, exchange)
}

function take (road: Road, log: Logger, request: FastifyRequest, reply: FastifyReply): void {
  reply.hijack()
  const exchange = request.exchange
  if (exchange === null) { reply.raw.destroy(); return }
  travel(road, exchange, request.raw, reply.raw).catch((error: unknown) => { lost(road, log, error, request, reply) })
}

/** A fault: its text goes to the operator, never to the client. */
function lost (road: Road, log: Logger, error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const exchange = request.exchange ?? open(road, request.raw)
  log.error({ err: error, id: exchange.id, stage: exchange.stage }, 'a request failed inside the gate')
  refuseHere(road, exchange, request, reply, reject('internal'))
}
