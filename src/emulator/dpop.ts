import { createHash, createHmac } from 'node:crypto'
import { EmbeddedJWK, calculateJwkThumbprint, jwtVerify, type JWK } from 'jose'

const DAY = 86_400_000
/** A nonce rotates every 24 hours, an old one is good for 3 days (facts.md, DPoP). */
const NONCE_DAYS = 3
const MAX_AGE_SECONDS = 300
const MAX_AHEAD_SECONDS = 60
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512']

/** What a proof has to prove. */
export interface Expected {
  readonly method: string
  /** URL without query */
  readonly url: string
  /** at the token endpoint */
  readonly nonces?: readonly string[]
  /** at the API: the access token */
  readonly accessToken?: string
  /** epoch milliseconds */
  readonly now: number
}

/** A good proof: the RFC 7638 thumbprint of its key. Else what is wrong. */
export type Proof = { readonly jkt: string } | { readonly error: 'invalid_dpop_proof' | 'use_dpop_nonce', readonly description: string }

/** The nonces that count at a moment, the newest first. */
export function noncesAt (secret: string, now: number): string[] {
  const day = Math.floor(now / DAY)
  return Array.from({ length: NONCE_DAYS + 1 }, (_, age) => createHmac('sha256', secret).update(String(day - age)).digest('base64url').slice(0, 32))
}

/** Remembers `jti` values until they would be too old anyway. */
export class SeenOnce {
  readonly #until = new Map<string, number>()

  /** False when the value was there before. Times in epoch milliseconds. */
  first (value: string, until: number, now: number): boolean {
    if (this.#until.has(value)) return false
    this.#until.set(value, until)
    // Entries are in order of arrival and live about as long: the oldest go first.
    for (const [oldest, end] of this.#until) {
      if (end > now) break
      this.#until.delete(oldest)
    }
    return true
  }
}

/** Judges a DPoP proof as RFC 9449 section 4.3 says and Okta's page narrows it. */
export async function checkProof (proof: string | undefined, expected: Expected, seen: SeenOnce): Promise<Proof> {
  if (proof === undefined) return bad('The DPoP proof JWT header is missing.')
  let verified
  try {
    verified = await jwtVerify(proof, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ALGORITHMS, currentDate: new Date(expected.now) })
  } catch {
    return bad('The DPoP proof JWT is not valid.')
  }
  const { payload, protectedHeader } = verified
  const jwk = protectedHeader.jwk as JWK & { d?: unknown }
  if (jwk.d !== undefined) return bad('The jwk of the DPoP proof must not be private.')
  if (payload['htm'] !== expected.method) return bad('htm does not match the method.')
  if (payload['htu'] !== expected.url) return bad('htu does not match the URL.')
  const seconds = Math.floor(expected.now / 1000)
  if (payload.iat === undefined || payload.iat < seconds - MAX_AGE_SECONDS || payload.iat > seconds + MAX_AHEAD_SECONDS) return bad('iat is not within the last 5 minutes.')
  if (expected.accessToken !== undefined && payload['ath'] !== hash(expected.accessToken)) return bad('ath does not match the access token.')
  if (expected.nonces !== undefined && !expected.nonces.includes(String(payload['nonce']))) {
    return { error: 'use_dpop_nonce', description: 'Authorization server requires nonce in DPoP proof.' }
  }
  const { jti } = payload
  if (jti === undefined || !seen.first(jti, expected.now + 2 * MAX_AGE_SECONDS * 1000, expected.now)) return bad('jti is missing or has been used.')
  return { jkt: await calculateJwkThumbprint(jwk) }
}

function bad (description: string): Proof {
  return { error: 'invalid_dpop_proof', description }
}

function hash (text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
