import { randomUUID } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { Exchange } from '../domain/exchange.js'
import { rejections, reject, type Rejection } from '../domain/rejection.js'
import { errorBody } from '../okta/error-body.js'
import { rejectionHeaders } from './answer.js'
import { arrivingOn, isClosing, noteClosing, ownerOf } from './connection.js'
import { recordEvent } from './record.js'
import type { Road } from './road.js'
import { sourceOf } from './source.js'
import type { GateExchange } from './stages.js'

/**
 * What never becomes a request that Fastify sees: malformed HTTP, time-outs while it arrives, CONNECT, upgrades and
 * unknown expectations. Each is answered in Okta's form, closes the connection, and is one audit event.
 */
export function listenForBadClients (server: Server, road: Road, log: Logger): void {
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    // A peer that merely went away between requests has asked for nothing, nor has one that never said a word, or whose TLS broke.
    if (error.code === 'ECONNRESET' || error.code?.startsWith('ERR_SSL_') === true || error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT' || !socket.writable || (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && (socket as Socket).bytesRead === 0)) { socket.destroy(); return }
    const arriving = arrivingOn(socket)
    // A body that ends in its middle: its sender has left.
    if (arriving !== undefined && error.code === 'HPE_INVALID_EOF_STATE') arriving.exchange.aborted = true
    close(road, socket, rejectionFor(error))
  })
  server.on('connect', (request, socket) => { close(road, socket, reject('method_not_allowed', { causes: ['this is no forward proxy'] }), request) })
  server.on('upgrade', (request, socket) => { close(road, socket, reject('bad_framing', { causes: ['no upgrade to another protocol is offered'] }), request) })
  server.on('checkExpectation', (request, response) => {
    const socket = response.socket
    if (socket !== null) close(road, socket, reject('bad_header', { causes: ['the only expectation that is met is 100-continue'] }), request, response)
  })
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    log.debug({ code: error.code }, 'a TLS handshake failed')
    // Who merely left, or has not begun, has said nothing wrong: balancers look in like that.
    if (error.code !== 'ECONNRESET' && error.code !== 'ERR_TLS_HANDSHAKE_TIMEOUT') noRequest(road, socket.remoteAddress, reject('bad_framing', { detail: `TLS: ${error.code}` }))
  })
  server.on('drop', ({ remoteAddress, id }: { remoteAddress?: string, id?: string } = {}) => {
    noRequest(road, remoteAddress, reject('overloaded', { detail: 'a connection too many: closed before it could ask for anything' }), id)
  })
  server.on('dropRequest', (request, socket) => { close(road, socket as Socket, reject('overloaded'), request) })
}

function rejectionFor (error: NodeJS.ErrnoException): Rejection {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT': return reject('request_timeout')
    case 'HPE_HEADER_OVERFLOW': return reject('bad_header', { causes: ['the headers are larger than 16 kB'] })
    // llhttp's words for what it refused: a closed list, none of which quotes the input.
    // Nothing of these is about a body: the request line, or a name or value among the headers.
    case 'HPE_INVALID_METHOD': case 'HPE_INVALID_URL': case 'HPE_INVALID_VERSION': case 'HPE_INVALID_HEADER_TOKEN':
      return reject('bad_request', { detail: error.code })
    default: return reject('bad_framing', { detail: error.code })
  }
}

/**
 * Ends a connection with a refusal, which is one event: of the request that was arriving on it, or of its own.
 *
 * @param response the request's own, where node has made one
 */
function close (road: Road, socket: Duplex, rejection: Rejection, request?: IncomingMessage, response?: ServerResponse): void {
  road.outbox.flush()
  // The answer that ends the connection may still wait for its turn, behind others.
  if (isClosing(socket)) { if (ownerOf(socket) === undefined) end(socket); return }
  noteClosing(socket)
  const arriving = arrivingOn(socket)
  if (arriving?.exchange.recorded === true) { end(socket); return }
  const exchange = arriving?.exchange ?? unread(road, socket as Socket, request)
  exchange.rejection = rejection
  // The answer that an earlier request waits for must not be this one.
  const owner = ownerOf(socket)
  const ours = owner === undefined || (owner === (response ?? arriving?.response) && !owner.headersSent)
  if (socket.writable && ours) write(socket, exchange, rejection)
  else socket.destroy()
  recordEvent(road, exchange)
}

/** What ends before there is a request, and may come by the thousand: an event for the first of a source, then one every ten seconds. */
function noRequest (road: Road, address: string | undefined, rejection: Rejection, id: string = randomUUID()): void {
  const snapshot = road.snapshot()
  const exchange: GateExchange = new Exchange(snapshot, id, road.now(), road.clock(), '', '', sourceOf(road, snapshot, address))
  exchange.rejection = rejection
  recordEvent(road, exchange, true)
}

function unread (road: Road, socket: Socket, request: IncomingMessage | undefined): GateExchange {
  const snapshot = road.snapshot()
  return new Exchange(snapshot, randomUUID(), road.now(), road.clock(), request?.method ?? '', request?.url ?? '', sourceOf(road, snapshot, socket.remoteAddress, request?.headers))
}

function write (socket: Duplex, exchange: GateExchange, rejection: Rejection): void {
  const { status } = rejections[rejection.code]
  const body = errorBody(rejection, exchange.id)
  const lines = [`HTTP/1.1 ${status} ${status === 408 ? 'Request Timeout' : 'Refused'}`, 'Connection: close']
  const headers = rejectionHeaders(rejection, exchange.id, Buffer.byteLength(body), exchange.time)
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`)
  socket.on('error', () => {})
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body.toString()}`, () => socket.destroy())
  exchange.status = status
  exchange.bytesOut = Buffer.byteLength(body)
}

/** Lets what has been written go out first. */
function end (socket: Duplex): void {
  socket.on('error', () => {})
  if (socket.writable) socket.end(() => socket.destroy())
  else if (socket.writableFinished) socket.destroy()
}
