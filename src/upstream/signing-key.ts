import { createPrivateKey, type JsonWebKeyInput, type KeyObject } from 'node:crypto'
import { calculateJwkThumbprint, importJWK, type CryptoKey, type JWK } from 'jose'
import type { Secret } from '../domain/secret.js'

/** A private key ready to sign client assertions with. */
export interface SigningKey {
  readonly key: CryptoKey
  readonly algorithm: 'RS256' | 'ES256'
  readonly kid?: string
}

/** A key that can't be used; the message says why and holds nothing of the key. */
export class SigningKeyError extends Error {}

/**
 * Reads a private key: PEM (PKCS #8, PKCS #1, SEC 1) or a JWK as JSON. RSA of at least 2048 bits signs RS256,
 * P-256 signs ES256 (Okta takes RS and ES, 256 to 512: facts.md).
 *
 * @param text the file's text
 * @param several true: Okta knows several keys of this client and needs a `kid` (facts.md); a PEM then gets its
 *   RFC 7638 thumbprint. A JWK's own `kid` is always used.
 * @throws SigningKeyError
 */
export async function readSigningKey (text: Secret, several: boolean): Promise<SigningKey> {
  const source = text.reveal().trim()
  const given = source.startsWith('{') ? parseJwk(source) : undefined
  const object = open(given ?? source)
  const algorithm = algorithmOf(object)
  const jwk = object.export({ format: 'jwk' }) as JWK
  const key = await importJWK(jwk, algorithm, { extractable: false }) as CryptoKey
  const kid = typeof given?.kid === 'string' ? given.kid : several ? await calculateJwkThumbprint(jwk) : undefined
  return { key, algorithm, kid }
}

function parseJwk (text: string): JWK {
  try { return JSON.parse(text) as JWK } catch { throw new SigningKeyError('it is neither PEM nor JSON') }
}

function open (source: JWK | string): KeyObject {
  try {
    return typeof source === 'string'
      ? createPrivateKey(source)
      : createPrivateKey({ key: source, format: 'jwk' } as JsonWebKeyInput)
  } catch {
    throw new SigningKeyError('it is not an unencrypted private key in PEM (PKCS #8, PKCS #1, SEC 1) or JWK form')
  }
}

function algorithmOf (key: KeyObject): 'RS256' | 'ES256' {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === 'rsa') {
    if ((details?.modulusLength ?? 0) < 2048) throw new SigningKeyError('the RSA key is shorter than 2048 bits')
    return 'RS256'
  }
  if (type === 'ec' && details?.namedCurve === 'prime256v1') return 'ES256'
  throw new SigningKeyError('it is neither an RSA nor a P-256 key')
}
