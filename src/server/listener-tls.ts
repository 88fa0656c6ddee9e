import { hash, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls'
import { readRevocationLists, type RevocationLists } from '../clients/revocation.js'
import type { Config, SecretReference } from '../config/config.js'
import type { Secret } from '../domain/secret.js'
import { ownerOf } from './connection.js'

/** TLS material of the client listener, PEM. */
export interface ListenerTls {
  readonly cert: string
  readonly key: string
  /** client certificates are asked for, and believed when one of these authorities issued them */
  readonly ca?: string
  readonly crl?: string
}

/** What became of new TLS material: `restart` when it can't be taken up while the listener runs. */
export type Renewal = 'same' | 'renewed' | 'restart'

/** Undefined: the listener speaks plain HTTP, or a file of it could not be read. */
export function tlsOf ({ listen: { tls } }: Config, secrets: ReadonlyMap<SecretReference, Secret>): ListenerTls | undefined {
  const text = (reference: SecretReference | undefined): string | undefined => reference === undefined ? undefined : secrets.get(reference)?.reveal()
  const cert = text(tls?.cert)
  const key = text(tls?.key)
  return cert === undefined || key === undefined ? undefined : { cert, key, ca: text(tls?.clientCa), crl: text(tls?.crl) }
}

/** What node is told of it: the least version is part of it, since a context replaces all of it. */
export function contextOf ({ cert, key, ca, crl }: ListenerTls): SecureContextOptions {
  return { cert, key, ca, crl: crl === undefined ? undefined : revocationLists(crl), minVersion: 'TLSv1.2' }
}

/** The lists of a PEM file, each by itself: node reads one list of a text, and a chain needs one of each of its authorities. */
export function revocationLists (pem: string): string[] {
  return pem.match(/-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----/g) ?? []
}

/** What certificates that a balancer passes on are looked up in. Undefined: no list is configured. @throws for what is none */
export function revokedBy (tls: ListenerTls | undefined): RevocationLists | undefined {
  return tls?.crl === undefined ? undefined : readRevocationLists(revocationLists(tls.crl))
}

/** True when a listener can work with all of it together: a certificate that does not fit its key is found here. */
export function isUsableTls (tls: ListenerTls): boolean {
  try {
    createSecureContext(contextOf(tls))
    return true
  } catch {
    return false
  }
}

const OUTDATED = Symbol('outdated')

/** True for a connection whose client certificate was judged by authorities or a revocation list that hold no longer. */
export function isOutdated (socket: object): boolean {
  return (socket as { [OUTDATED]?: true })[OUTDATED] === true
}

/**
 * The TLS side of the client listener, renewed while it runs. A handshake after a renewal goes by the new material; no
 * session of before can be resumed, because the new context has ticket keys of its own. A connection of before on which
 * a client showed a certificate is believed no longer when the authorities or the revocation list have changed: it ends,
 * at once or after the answer that is under way, and its client connects anew.
 */
export class TlsListener {
  readonly #server: Server
  readonly #certified = new Set<TLSSocket>()
  #tls: ListenerTls

  constructor (server: Server, tls: ListenerTls) {
    this.#server = server
    this.#tls = tls
    server.on('secureConnection', (socket: TLSSocket) => {
      if (this.#tls.ca === undefined || socket.getPeerX509Certificate() === undefined) return
      this.#certified.add(socket)
      socket.once('close', () => { this.#certified.delete(socket) })
    })
  }

  /** What operators may know of it: nothing of the key. */
  get shown (): { readonly certificate: string, readonly until: string, readonly crl?: string } {
    const { fingerprint256, validTo } = new X509Certificate(this.#tls.cert)
    const { crl } = this.#tls
    return { certificate: fingerprint256.replaceAll(':', '').toLowerCase().slice(0, 8), until: new Date(validTo).toISOString(), crl: crl === undefined ? undefined : hash('sha256', crl, 'hex').slice(0, 8) }
  }

  /**
   * @param next undefined: the configuration wants plain HTTP
   * @returns `restart` for what is decided when the listener opens: TLS or none, and whether certificates are asked for
   * @throws what node finds wrong with it; the old material stays in force then
   */
  renew (next: ListenerTls | undefined): Renewal {
    const old = this.#tls
    if (next === undefined || (next.ca === undefined) !== (old.ca === undefined)) return 'restart'
    if (next.cert === old.cert && next.key === old.key && next.ca === old.ca && next.crl === old.crl) return 'same'
    this.#server.setSecureContext(contextOf(next))
    this.#tls = next
    if (next.ca !== old.ca || next.crl !== old.crl) this.#endCertified()
    return 'renewed'
  }

  #endCertified (): void {
    for (const socket of this.#certified) {
      (socket as { [OUTDATED]?: true })[OUTDATED] = true
      const response = ownerOf(socket)
      if (response === undefined) socket.destroySoon()
      else response.once('close', () => { socket.destroySoon() })
    }
    this.#certified.clear()
  }
}
