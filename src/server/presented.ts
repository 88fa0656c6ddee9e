import type { IncomingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Presented } from '../clients/callers.js'
import type { Certificate } from '../clients/mtls.js'
import type { GateExchange, RawRequest } from './stages.js'

/** What a request shows of its sender; the costly part only when it is asked for. */
export class PresentedCall implements Presented {
  readonly authorization: string | undefined
  readonly method: string
  readonly path: string
  readonly #exchange: GateExchange
  readonly #headers: IncomingHttpHeaders
  readonly #socket: Socket | undefined

  constructor (exchange: GateExchange, { headers, socket }: RawRequest) {
    this.authorization = headers.authorization
    this.method = exchange.method
    this.path = exchange.target!.path
    this.#exchange = exchange
    this.#headers = headers
    this.#socket = socket
  }

  get dpop (): string | undefined { return textOf(this.#headers['dpop']) }

  /**
   * Of the connection itself when its authority is known to the listener and its revocation list does not name it;
   * from a trusted proxy that ends TLS the one that it saw, and never the proxy's own (RFC 9440 section 2).
   */
  certificate (): Certificate | undefined {
    const { certificates, clientCertHeader, trustedProxies } = this.#exchange.snapshot
    if (certificates === undefined || this.#socket === undefined) return undefined
    if (clientCertHeader === true && trustedProxies?.contains(this.#socket.remoteAddress ?? '') === true) {
      const header = textOf(this.#headers['client-cert'])
      return header === undefined ? undefined : certificates.fromHeader(header)
    }
    const socket = this.#socket as Partial<TLSSocket>
    const certificate = socket.authorized === true ? socket.getPeerX509Certificate?.() : undefined
    return certificate === undefined ? undefined : certificates.fromDer(certificate.raw)
  }
}

/** Node joins repeated lines of such a header by a comma, which no JWT and no byte sequence has. */
function textOf (value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value
}
