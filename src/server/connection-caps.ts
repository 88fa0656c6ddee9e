import { randomUUID } from 'node:crypto'
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { networkOf } from '../clients/failures.js'
import { canonicalAddress } from '../domain/cidr.js'
import { rejections, reject } from '../domain/rejection.js'
import { errorBody } from '../okta/error-body.js'
import { rejectionHeaders } from './answer.js'

/** Connections that are told 503 at the same time; beyond these a connection too many is closed without a word. */
const TURNED_AWAY = 64
const FAREWELL_MS = 500

/** How many connections the client listener takes. */
export interface ConnectionCaps {
  readonly total: number
  /** from one address, for IPv6 from one /64; who shares an address shares it */
  readonly perAddress: number
  /** false for balancers (trustedProxies), behind which everybody has one address */
  readonly counts: (address: string) => boolean
  /** over TLS a refusal would cost a handshake: such connections are closed */
  readonly tls: boolean
  readonly now: () => number
}

/**
 * Puts a cap in front of a listener, before a parser or a TLS session is made for a connection. Each connection that
 * is turned away is a `drop` event of the server, as node emits it for `maxConnections`, with the `id` that its 503 has.
 *
 * @returns how many connections are open
 */
export function capConnections (server: Server, { total, perAddress, counts, tls, now }: ConnectionCaps): () => number {
  const accept = server.listeners('connection') as ((socket: Socket) => void)[]
  const byAddress = new Map<string, number>()
  let open = 0
  let leaving = 0
  // Behind our own count, for what is being turned away.
  server.maxConnections = total + TURNED_AWAY
  server.removeAllListeners('connection')
  server.on('connection', socket => {
    const address = networkOf(canonicalAddress(socket.remoteAddress ?? '') ?? '')
    const here = byAddress.get(address) ?? 0
    if (open >= total || (here >= perAddress && counts(socket.remoteAddress ?? ''))) { turnAway(socket); return }
    open++
    byAddress.set(address, here + 1)
    socket.once('close', () => {
      open--
      const left = byAddress.get(address)! - 1
      if (left === 0) byAddress.delete(address)
      else byAddress.set(address, left)
    })
    for (const listener of accept) listener.call(server, socket)
  })

  function turnAway (socket: Socket): void {
    const { localAddress, localPort, localFamily, remoteAddress, remotePort, remoteFamily } = socket
    const id = randomUUID()
    if (tls || leaving >= TURNED_AWAY) socket.destroy()
    else {
      leaving++
      socket.on('error', () => {}).once('close', () => { leaving-- })
      // What it has sent is read away: a close over unread bytes would be a reset, and the 503 lost.
      socket.resume().end(farewell(id, now()))
      setTimeout(() => { socket.destroy() }, FAREWELL_MS).unref()
    }
    server.emit('drop', { localAddress, localPort, localFamily, remoteAddress, remotePort, remoteFamily, id })
  }

  return () => open
}

function farewell (id: string, now: number): string {
  const rejection = reject('overloaded')
  const body = errorBody(rejection, id)
  const headers = rejectionHeaders(rejection, id, Buffer.byteLength(body), now)
  const lines = [`HTTP/1.1 ${rejections[rejection.code].status} Service Unavailable`, 'Connection: close']
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`)
  return `${lines.join('\r\n')}\r\n\r\n${body.toString()}`
}
