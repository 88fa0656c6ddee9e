import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { GateExchange } from './stages.js'

/** A request whose body is still on its way: what goes wrong with its bytes is its own end, and no request more. */
export interface Arriving {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly exchange: GateExchange
}

const ARRIVING = Symbol('arriving')
const CLOSING = Symbol('closing')
const LAST = Symbol('last')
const BEGUN = Symbol('begun')
const NTH = Symbol('nth')
const QUEUED = Symbol('queued')

/** What the listener keeps with a connection; `_httpMessage` is node's. */
type Connection = Duplex & { [ARRIVING]?: Arriving | undefined, [CLOSING]?: number, [LAST]?: true, [BEGUN]?: number, [QUEUED]?: Set<ServerResponse>, readonly _httpMessage?: ServerResponse | null }

type Numbered = IncomingMessage & { [NTH]?: number }

/** Notes that a request's body has yet to arrive on its connection. */
export function noteArriving (request: IncomingMessage, response: ServerResponse, exchange: GateExchange): void {
  (request.socket as Connection)[ARRIVING] = { request, response, exchange }
}

/** It has arrived: a connection that lies idle must not hold on to its last request and all that belongs to it. */
export function noteArrived (request: IncomingMessage): void {
  const connection = request.socket as Connection
  if (connection[ARRIVING]?.request === request) connection[ARRIVING] = undefined
}

/** The request whose body is on its way. */
export function arrivingOn (socket: Duplex): Arriving | undefined {
  const arriving = (socket as Connection)[ARRIVING]
  return arriving?.request.complete === false ? arriving : undefined
}

/** The response that node lets write to the connection at the moment; node's own error answer looks here, too. */
export function ownerOf (socket: Duplex): ServerResponse | undefined {
  return (socket as Connection)._httpMessage ?? undefined
}

/** Counts the requests of a connection, so that it is known which of them stands behind which. */
export function noteBegun (request: IncomingMessage): void {
  const connection = request.socket as Connection
  (request as Numbered)[NTH] = connection[BEGUN] = (connection[BEGUN] ?? 0) + 1
}

/**
 * An answer that waits behind another one of its connection hears of the connection's end: node tells the one that it
 * is writing, and no other, so that a call, its place and its body would be held for nobody, for ever.
 */
export function watchQueued (request: IncomingMessage, response: ServerResponse): void {
  if (response.socket !== null) return
  const connection = request.socket as Connection
  let queued = connection[QUEUED]
  if (queued === undefined) {
    const all = queued = connection[QUEUED] = new Set()
    connection.once('close', () => {
      for (const each of all) if (each.socket === null && !each.destroyed && !each.writableFinished) each.destroy().emit('close')
    })
  }
  const all = queued
  all.add(response)
  response.once('close', () => { all.delete(response) })
}

/**
 * Nothing that this connection brings behind a request is a request (RFC 9112 section 9.6).
 *
 * @param request absent: behind all that have begun
 */
export function noteClosing (socket: Duplex, request?: IncomingMessage): void {
  const connection = socket as Connection
  connection[CLOSING] = Math.min(connection[CLOSING] ?? Infinity, (request as Numbered | undefined)?.[NTH] ?? connection[BEGUN] ?? 0)
}

/** True for a request that has begun behind one whose answer ends the connection: it is not to be executed. */
export function isBehindClosing (request: IncomingMessage): boolean {
  const closing = (request.socket as Connection)[CLOSING]
  return closing !== undefined && ((request as Numbered)[NTH] ?? 0) > closing
}

/** True when an answer on this connection has announced its end: where a next request begins is in doubt. */
export function isClosing (socket: Duplex): boolean {
  return (socket as Connection)[CLOSING] !== undefined
}

/** The request that has just begun is the last one of its connection, though its own body may still arrive. */
export function noteLast (socket: Duplex): void {
  (socket as Connection)[LAST] = true
}

/** True when a request on this connection was the last. */
export function hadLast (socket: Duplex): boolean {
  return (socket as Connection)[LAST] === true
}

/**
 * Keeps the connections that have brought no request yet: node's closeIdleConnections passes over them, and
 * a closed server no longer times them out, so that a balancer's spare connection would hold up every shutdown.
 *
 * @returns a function that ends them
 */
export function trackUnused (server: Server, tls: boolean): () => void {
  const unused = new Set<Socket>()
  const keep = (socket: Socket): void => {
    unused.add(socket)
    socket.once('close', () => { unused.delete(socket) })
  }
  server.on('connection', keep)
  if (tls) {
    // Once TLS stands, another object is the connection; the one below it has the same peer.
    const below = new Map<string, Socket>()
    const peerOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`
    server.on('connection', (socket: Socket) => {
      const peer = peerOf(socket)
      below.set(peer, socket)
      socket.once('close', () => { if (below.get(peer) === socket) below.delete(peer) })
    })
    server.on('secureConnection', (socket: Socket) => {
      const peer = peerOf(socket)
      unused.delete(below.get(peer)!)
      below.delete(peer)
      keep(socket)
    })
  }
  server.on('request', request => { unused.delete(request.socket) })
  return () => { for (const socket of unused) socket.destroy() }
}
