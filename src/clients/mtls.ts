import { X509Certificate } from 'node:crypto'
import type { Client } from '../domain/client.js'
import { reject, type Rejection } from '../domain/rejection.js'
import { Remembered } from '../domain/remembered.js'
import { issuedAs, type IssuedAs } from './revocation.js'

/** What a client's certificate has to say: an entry `mtls` of its policy, exactly one of the three. */
export interface CertificateClient {
  readonly client: string
  readonly uri?: string
  readonly dns?: string
  /** 64 lower-case hex digits */
  readonly sha256?: string
}

/** What a certificate says of its holder. Whether it is to be believed was decided before. */
export interface Certificate {
  readonly sha256: string
  readonly uris: readonly string[]
  readonly dns: readonly string[]
  /** epoch milliseconds */
  readonly validFrom: number
  readonly validTo: number
  /** what revocation lists know it by */
  readonly issued: IssuedAs
}

/** Reads a certificate. The same few come again and again behind a balancer. */
export class Certificates {
  readonly #known: Remembered<Certificate>

  constructor (most = 1000) { this.#known = new Remembered(most) }

  /** @returns undefined when these bytes are not one certificate, no more and no less */
  fromDer (der: Uint8Array): Certificate | undefined {
    const key = Buffer.from(der).toString('latin1')
    const known = this.#known.get(key)
    if (known !== undefined) return known
    try {
      const certificate = new X509Certificate(der)
      // Takes PEM, too, and leaves what stands behind a certificate unread.
      if (!certificate.raw.equals(der)) return undefined
      const read = describe(certificate)
      this.#known.set(key, read)
      return read
    } catch {
      return undefined
    }
  }

  /**
   * The Client-Cert header of a balancer that ends TLS: one DER certificate as a byte sequence, `:base64:` (RFC 9440
   * section 2.2). Who may send it is decided before.
   */
  fromHeader (value: string): Certificate | undefined {
    const base64 = /^\s*:([A-Za-z0-9+/]{1,16000}={0,2}):\s*$/.exec(value)?.[1]
    return base64 === undefined ? undefined : this.fromDer(Buffer.from(base64, 'base64'))
  }
}

function describe (certificate: X509Certificate): Certificate {
  const names = splitNames(certificate.subjectAltName ?? '')
  const of = (prefix: string): string[] => names.filter(name => name.startsWith(prefix)).map(name => name.slice(prefix.length))
  return {
    sha256: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    uris: of('URI:'),
    dns: of('DNS:').map(name => name.toLowerCase()),
    validFrom: Date.parse(certificate.validFrom),
    validTo: Date.parse(certificate.validTo),
    issued: issuedAs(certificate.raw)
  }
}

/**
 * Node writes subject alternative names as `URI:a, DNS:b`, and a name that could be taken for several as a JSON string
 * after its prefix (nodejs.org/api/crypto.html#x509subjectaltname). Such a name is left out: no honest one needs it.
 */
function splitNames (text: string): string[] {
  if (text === '') return []
  return text.includes('"') ? [] : text.split(', ')
}

/** Clients that are known by their certificate. */
export interface CertificateIndex {
  readonly size: number
  /** @returns the client, or `bad_credential`: none, two, or out of its time */
  identify (certificate: Omit<Certificate, 'issued'>, now: number): Client | Rejection
}

/** @param entries of all policies */
export function indexCertificates (entries: readonly CertificateClient[]): CertificateIndex {
  const byName = new Map<string, Set<string>>()
  for (const { client, uri, dns, sha256 } of entries) {
    const name = uri !== undefined ? `uri ${uri}` : dns !== undefined ? `dns ${dns.toLowerCase()}` : `sha256 ${sha256!}`
    byName.set(name, (byName.get(name) ?? new Set()).add(client))
  }
  return {
    size: entries.length,
    identify ({ sha256, uris, dns, validFrom, validTo }, now) {
      if (!(now >= validFrom && now < validTo)) return reject('bad_credential', { causes: ['the client certificate is not within its time'] })
      const clients = new Set<string>()
      for (const name of [`sha256 ${sha256}`, ...uris.map(uri => `uri ${uri}`), ...dns.map(one => `dns ${one}`)]) {
        for (const client of byName.get(name) ?? []) clients.add(client)
      }
      const [id] = clients
      if (id === undefined) return reject('bad_credential', { causes: ['no policy names this client certificate'], detail: `certificate ${sha256.slice(0, 8)}` })
      if (clients.size > 1) return reject('bad_credential', { causes: ['more than one policy names this client certificate: the operators of the gate have to tell them apart'], detail: `certificate ${sha256.slice(0, 8)} fits ${[...clients].sort().join(', ')}` })
      return { id, keyId: sha256.slice(0, 8), method: 'mtls' }
    }
  }
}
