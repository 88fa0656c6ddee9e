import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto'

/** X.509 certificates made on the fly, so that no test needs an openssl on the machine or a fixture that expires. */
export interface Certificate { readonly cert: string, readonly key: string, readonly name: Buffer, readonly private: KeyObject, readonly serial: Buffer }

export interface CertificateOptions {
  readonly commonName: string
  /** DNS names; an IPv4 address and a URI are written as such */
  readonly names?: readonly string[]
  readonly issuer?: Certificate
  readonly notAfter?: Date
  readonly authority?: boolean
}

/** One value of DER. */
export const tlv = (tag: number, ...parts: Buffer[]): Buffer => {
  const body = Buffer.concat(parts)
  const length = body.length < 128 ? Buffer.from([body.length]) : body.length < 256 ? Buffer.from([0x81, body.length]) : Buffer.from([0x82, body.length >> 8, body.length & 255])
  return Buffer.concat([Buffer.from([tag]), length, body])
}
export const sequence = (...parts: Buffer[]): Buffer => tlv(0x30, ...parts)
const oid = (hex: string): Buffer => tlv(0x06, Buffer.from(hex, 'hex'))
const boolean = tlv(0x01, Buffer.from([255]))
const time = (date: Date): Buffer => tlv(0x18, Buffer.from(date.toISOString().replace(/[-:T]|\.\d+/g, '')))
const extension = (id: string, critical: boolean, value: Buffer): Buffer => sequence(oid(id), ...critical ? [boolean] : [], tlv(0x04, value))
const ECDSA_SHA256 = sequence(oid('2a8648ce3d040302'))

export function makeCertificate (options: CertificateOptions): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = sequence(tlv(0x31, sequence(oid('550403'), tlv(0x0c, Buffer.from(options.commonName)))))
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const alternative = (options.names ?? []).map(text => /^[\d.]+$/.test(text) ? tlv(0x87, Buffer.from(text.split('.').map(Number))) : tlv(text.includes(':') ? 0x86 : 0x82, Buffer.from(text)))
  const extensions = [
    extension('551d13', true, options.authority === true ? sequence(boolean) : sequence()),
    extension('551d0e', false, tlv(0x04, createHash('sha1').update(spki).digest())),
    ...alternative.length === 0 ? [] : [extension('551d11', false, sequence(...alternative))]
  ]
  const serial = tlv(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)]))
  const signed = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    serial,
    ECDSA_SHA256,
    options.issuer?.name ?? name,
    sequence(time(new Date('2020-01-01T00:00:00Z')), time(options.notAfter ?? new Date('2099-01-01T00:00:00Z'))),
    name,
    spki,
    tlv(0xa3, sequence(...extensions))
  )
  const signature = sign('sha256', signed, options.issuer?.private ?? privateKey)
  const der = sequence(signed, ECDSA_SHA256, tlv(0x03, Buffer.from([0]), signature))
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${der.toString('base64').match(/.{1,64}/g)!.join('\n')}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    name,
    private: privateKey,
    serial
  }
}

/** The revocation list of an authority (RFC 5280 section 5): these of its certificates are good no longer. */
export function makeCrl (issuer: Certificate, revoked: readonly Certificate[], nextUpdate = new Date('2099-01-01T00:00:00Z')): string {
  const since = time(new Date('2020-01-01T00:00:00Z'))
  const signed = sequence(
    tlv(0x02, Buffer.from([1])),
    ECDSA_SHA256,
    issuer.name,
    since,
    time(nextUpdate),
    ...revoked.length === 0 ? [] : [sequence(...revoked.map(({ serial }) => sequence(serial, since)))]
  )
  const der = sequence(signed, ECDSA_SHA256, tlv(0x03, Buffer.from([0]), sign('sha256', signed, issuer.private)))
  return `-----BEGIN X509 CRL-----\n${der.toString('base64').match(/.{1,64}/g)!.join('\n')}\n-----END X509 CRL-----\n`
}
