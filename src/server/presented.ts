import type { IncomingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Presented } from '../clients/callers.js'
import type { Certificate } from '../clients/mtls.js'
import { isRejection, reject, type Rejection } from '../domain/rejection.js'
import { isOutdated } from './listener-tls.js'
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
   * from a trusted proxy that ends TLS the one that it saw, and never the proxy's own (RFC 9440 section 2); the proxy
   * has verified it, but the list is looked at here, too.
   */
  certificate (): Certificate | Rejection | undefined {
    const { certificates, clientCertHeader, trustedProxies, revoked } = this.#exchange.snapshot
    if (certificates === undefined || this.#socket === undefined) return undefined
    if (clientCertHeader === true && trustedProxies?.contains(this.#socket.remoteAddress ?? '') === true) {
      const header = textOf(this.#headers['client-cert'])
      if (header === undefined) return undefined
      const passedOn = certificates.fromHeader(header) ?? reject('bad_credential', { causes: ['the Client-Cert header holds no certificate'] })
      const revocation = isRejection(passedOn) ? undefined : revoked?.whyNot(passedOn.issued, this.#exchange.time)
      return revocation === undefined ? passedOn : reject('bad_credential', { causes: [revocation], detail: `Client-Cert: ${revocation}` })
    }
    const socket = this.#socket as Partial<TLSSocket>
    const certificate = socket.getPeerX509Certificate?.()
    if (certificate === undefined) return undefined
    return whyNot(socket) ?? certificates.fromDer(certificate.raw)
  }
}

/** OpenSSL's verdicts as node has them, in words for the holder of the certificate. */
const VERDICTS: ReadonlyMap<string, string> = new Map([
  ['CERT_REVOKED', 'the client certificate is revoked'],
  ['CERT_HAS_EXPIRED', 'the client certificate has expired'],
  ['CERT_NOT_YET_VALID', 'the client certificate is not valid yet: is the clock right?'],
  ['CRL_HAS_EXPIRED', 'the revocation list of this gate is out of date: tell its operators'],
  ['CRL_NOT_YET_VALID', 'the revocation list of this gate is not valid yet: tell its operators'],
  ['UNABLE_TO_GET_CRL', 'this gate has no revocation list of an authority of the client certificate: tell its operators']
])

function whyNot (socket: Partial<TLSSocket>): Rejection | undefined {
  if (isOutdated(socket)) return reject('bad_credential', { causes: ['this connection is older than what the gate goes by in judging certificates: connect anew'] })
  if (socket.authorized === true) return undefined
  const code = String(socket.authorizationError)
  return reject('bad_credential', { causes: [VERDICTS.get(code) ?? 'the client certificate is of no authority that this gate knows'], detail: `client certificate: ${code}` })
}

/** Node joins repeated lines of such a header by a comma, which no JWT and no byte sequence has. */
function textOf (value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value
}
