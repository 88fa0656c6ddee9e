import { createPublicKey, type JsonWebKeyInput, type KeyObject } from 'node:crypto'
import { calculateJwkThumbprint, type JWK } from 'jose'

/** A public key that somebody signs with. */
export interface PublicKey {
  readonly key: KeyObject
  readonly kid?: string
  /** RFC 7638, SHA-256, base64url */
  readonly thumbprint: string
  readonly algorithms: ReadonlySet<string>
}

const RSA = ['RS256', 'RS384', 'RS512', 'PS256']
const CURVES: ReadonlyMap<unknown, string> = new Map([['P-256', 'ES256'], ['P-384', 'ES384'], ['P-521', 'ES512']])
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']
const MIN_RSA_BITS = 2048
const MAX_KEYS = 100

/** True when a JWK holds anything of a private or symmetric key. */
export function holdsSecret (jwk: object): boolean {
  return PRIVATE_MEMBERS.some(name => Object.hasOwn(jwk, name))
}

/**
 * Reads one JWK.
 * @returns the key, or why it can't be used, in words that repeat nothing of it
 */
export async function readPublicKey (jwk: unknown): Promise<PublicKey | string> {
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk)) return 'is no JWK'
  if (Object.hasOwn(jwk, 'k') || (jwk as JWK).kty === 'oct') return 'is a symmetric key: give the public half of a key pair'
  if (holdsSecret(jwk)) return 'holds a private key: give its public half only, and replace the pair, since this one has been seen'
  const { kty, crv, alg, use, kid } = jwk as JWK
  if (use !== undefined && use !== 'sig') return 'is not for signatures (use)'
  if (kid !== undefined && typeof kid !== 'string') return 'has a kid that is no text'
  const possible = kty === 'RSA' ? RSA : kty === 'EC' && CURVES.has(crv) ? [CURVES.get(crv)!] : undefined
  if (possible === undefined) return 'is neither RSA nor on the curves P-256, P-384, P-521'
  if (alg !== undefined && !possible.includes(alg)) return `does not fit its alg: possible are ${possible.join(', ')}`
  const key = open(jwk as JWK)
  if (key === undefined) return 'is malformed'
  if ((key.asymmetricKeyDetails?.modulusLength ?? MIN_RSA_BITS) < MIN_RSA_BITS) return `is shorter than ${MIN_RSA_BITS} bits`
  return { key, kid, thumbprint: await calculateJwkThumbprint(jwk as JWK), algorithms: new Set(alg === undefined ? possible : [alg]) }
}

function open (jwk: JWK): KeyObject | undefined {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' } as JsonWebKeyInput)
  } catch {
    return undefined
  }
}

/** Keys of a set, and what is wrong with it; `index` is the key's place in the list. */
export interface KeySet {
  readonly keys: readonly PublicKey[]
  readonly problems: readonly { readonly index?: number, readonly message: string }[]
}

/**
 * Reads a JWK Set (RFC 7517 section 5).
 * @param foreign true: an issuer's, where keys that can't be used are of no concern
 */
export async function readKeySet (value: unknown, foreign = false): Promise<KeySet> {
  const list = typeof value === 'object' && value !== null ? (value as { keys?: unknown }).keys : undefined
  if (!Array.isArray(list)) return { keys: [], problems: [{ message: 'this is no JWK Set: it has no list of keys' }] }
  if (list.length === 0 || list.length > MAX_KEYS) return { keys: [], problems: [{ message: `a JWK Set has 1 to ${MAX_KEYS} keys` }] }
  const keys: PublicKey[] = []
  const problems: { index?: number, message: string }[] = []
  for (const [index, jwk] of list.entries()) {
    const key = await readPublicKey(jwk)
    if (typeof key === 'string') { if (!foreign) problems.push({ index, message: `key ${index + 1} ${key}` }) } else if (!foreign && keys.some(other => other.thumbprint === key.thumbprint)) problems.push({ index, message: `key ${index + 1} stands there twice` })
    else keys.push(key)
  }
  if (keys.length === 0 && problems.length === 0) problems.push({ message: 'none of its keys can be used' })
  return { keys, problems }
}

/**
 * The keys that may have signed a JWT: by `kid` where both sides name one; a key without a `kid` may be any
 * (RFC 7515 section 4.1.4: the parameter is optional).
 */
export function candidates (keys: readonly PublicKey[], kid: string | undefined, alg: string): readonly PublicKey[] {
  const fitting = keys.filter(key => key.algorithms.has(alg))
  if (kid === undefined) return fitting
  const named = fitting.filter(key => key.kid === kid || key.thumbprint === kid)
  return named.length > 0 ? named : fitting.filter(key => key.kid === undefined)
}
