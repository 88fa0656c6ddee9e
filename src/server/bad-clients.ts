import type { Server } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import { Exchange } from '../domain/exchange.js'
import { rejections, reject, type Rejection } from '../domain/rejection.js'
import { errorBody } from '../okta/error-body.js'
import { rejectionHeaders } from './answer.js'
import { recordEvent } from './record.js'
import type { Road } from './road.js'
import type { GateExchange } from './stages.js'
import { randomUUID } from 'node:crypto'

/**
 * What never becomes a request that Fastify sees: malformed HTTP, time-outs while it arrives, CONNECT, upgrades and
 * unknown expectations. Each is answered in Okta's form, closes the connection, and is one audit event.
 */
export function listenForBadClients (server: Server, road: Road, log: Logger): void {
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    // A peer that merely went away between requests has asked for nothing.
    if (error.code === 'ECONNRESET' || !socket.writable) { socket.destroy(); return }
    close(road, socket, '', rejectionFor(error))
  })
  server.on('connect', (request, socket) => { close(road, socket, request.method ?? 'CONNECT', reject('method_not_allowed', { causes: ['this is no forward proxy'] })) })
  server.on('upgrade', (request, socket) => { close(road, socket, request.method ?? '', reject('bad_framing', { causes: ['no upgrade to another protocol is offered'] })) })
  server.on('checkExpectation', (request, response) => {
    const socket = response.socket
    if (socket !== null) close(road, socket, request.method ?? '', reject('bad_header', { causes: ['the only expectation that is met is 100-continue'] }))
  })
  server.on('tlsClientError', (error) => { log.debug({ code: (error as NodeJS.ErrnoException).code }, 'a TLS handshake failed') })
  server.on('dropRequest', (_request, socket) => { close(road, socket as Socket, '', reject('overloaded')) })
}

function rejectionFor (error: NodeJS.ErrnoException): Rejection {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT': return reject('request_timeout')
    case 'HPE_HEADER_OVERFLOW': return reject('bad_header', { causes: ['the headers are larger than 16 kB'] })
    // llhttp's words for what it refused: a closed list, none of which quotes the input.
    default: return reject('bad_framing', { detail: error.code })
  }
}

function close (road: Road, socket: Duplex, method: string, rejection: Rejection): void {
  const exchange: GateExchange = new Exchange(road.snapshot(), randomUUID(), road.now(), road.clock(), method, '', (socket as Socket).remoteAddress ?? '')
  const { status } = rejections[rejection.code]
  const body = errorBody(rejection, exchange.id)
  const lines = [`HTTP/1.1 ${status} ${status === 408 ? 'Request Timeout' : 'Refused'}`, 'Connection: close']
  const headers = rejectionHeaders(rejection, exchange.id, Buffer.byteLength(body), exchange.time)
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`)
  socket.on('error', () => {})
  if (socket.writable) socket.end(`${lines.join('\r\n')}\r\n\r\n${body.toString()}`, () => socket.destroy())
  else socket.destroy()
  exchange.rejection = rejection
  exchange.status = status
  exchange.bytesOut = Buffer.byteLength(body)
  recordEvent(road, exchange)
}
