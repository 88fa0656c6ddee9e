import { hash } from 'node:crypto'
import { SignJWT } from 'jose'
import { reject, type Rejection } from '../domain/rejection.js'
import { checkTimes, isSignedBy, readJwt, type UnverifiedJwt } from './jwt.js'
import { Remembered } from '../domain/remembered.js'
import type { TokenKeys } from './token-keys.js'

/** What a token of the gate says, verified. */
export interface VerifiedToken {
  readonly client: string
  /** RFC 7638 thumbprint of the client's registered key: once that is revoked, its tokens are worth nothing */
  readonly keyThumbprint: string
  /** thumbprint of the key that it is bound to (RFC 9449 section 6) */
  readonly jkt?: string
  /** epoch milliseconds */
  readonly expiresAt: number
}

/** Whom a token is for. */
export type TokenSubject = Pick<VerifiedToken, 'client' | 'keyThumbprint' | 'jkt'>

/** The gate's own access tokens: issued at the token endpoint, verified without a look-up anywhere. */
export interface AccessTokens {
  /** @param jti a fresh id */
  issue (subject: TokenSubject, now: number, jti: string): Promise<{ token: string, expiresIn: number }>
  /** True for a token that this gate, or a replica of it, claims to have issued; says nothing of its signature. */
  isOwn (jwt: UnverifiedJwt): boolean
  /** A token that was verified before and has not expired: without a signature check, since the text is the same. */
  known (token: string, now: number): VerifiedToken | undefined
  /** @returns `bad_credential` when it is not one of this gate, or has expired */
  verify (jwt: UnverifiedJwt, now: number): Promise<VerifiedToken | Rejection>
}

export interface AccessTokenOptions {
  readonly publicUrl: string
  readonly lifetimeSeconds: number
  readonly skewSeconds: number
  readonly keys: TokenKeys
  /** shared by the snapshots of a gate */
  readonly cache: TokenCache
}

interface Cached extends VerifiedToken { readonly kid: string, readonly issuer: string }

/** Verified tokens by their SHA-256. */
export class TokenCache {
  readonly entries: Remembered<Cached>

  /** @param most 0.3 kB each, or about */
  constructor (most = 10_000) { this.entries = new Remembered(most) }
}

/** RFC 9068 section 2.1 */
const TYPE = 'at+jwt'
const ALGORITHMS: ReadonlySet<string> = new Set(['ES256'])

/** Signs with the first key of a set and verifies with all of them, so that keys can be exchanged without a gap. */
export function createAccessTokens ({ publicUrl, lifetimeSeconds, skewSeconds, keys, cache: { entries } }: AccessTokenOptions): AccessTokens {
  return {
    async issue ({ client, keyThumbprint, jkt }, now, jti) {
      const issued = Math.floor(now / 1000)
      const claims = { client_id: client, ckt: keyThumbprint, ...(jkt === undefined ? {} : { cnf: { jkt } }) }
      const token = await new SignJWT(claims)
        .setProtectedHeader({ alg: 'ES256', typ: TYPE, kid: keys.signing.kid })
        .setIssuer(publicUrl).setAudience(publicUrl).setSubject(client).setJti(jti)
        .setIssuedAt(issued).setExpirationTime(issued + lifetimeSeconds)
        .sign(keys.signing.key)
      return { token, expiresIn: lifetimeSeconds }
    },

    isOwn: ({ header, claims }) => header.typ === TYPE && claims.iss === publicUrl,

    known (token, now) {
      const key = hash('sha256', token, 'base64')
      const found = entries.get(key)
      if (found === undefined) return undefined
      if (now < found.expiresAt && found.issuer === publicUrl && keys.verifying.has(found.kid)) return found
      entries.delete(key)
      return undefined
    },

    async verify (jwt, now) {
      const key = keys.verifying.get(jwt.header.kid ?? '')
      if (!ALGORITHMS.has(jwt.header.alg) || key === undefined || !await isSignedBy(jwt, key)) {
        return reject('bad_credential', { causes: ['this access token was not issued by this gate, or its signing key is gone: ask for a new one'] })
      }
      const { client_id: client, ckt, cnf, aud, exp, sub } = jwt.claims as Record<string, unknown> & UnverifiedJwt['claims']
      const times = checkTimes(jwt.claims, now, skewSeconds, 'access token')
      // No leeway for the end: the gate itself set it, and clients are told `expires_in`.
      if (times !== undefined || exp! * 1000 <= now) return reject('bad_credential', { causes: ['this access token has expired: ask for a new one'] })
      const jkt = (cnf as { jkt?: unknown } | undefined)?.jkt
      if (aud !== publicUrl || typeof client !== 'string' || client !== sub || typeof ckt !== 'string' || (cnf !== undefined && typeof jkt !== 'string')) {
        return reject('bad_credential', { causes: ['this token is not for this gate'] })
      }
      const verified: Cached = { client, keyThumbprint: ckt, jkt: jkt as string | undefined, expiresAt: exp! * 1000, kid: jwt.header.kid!, issuer: publicUrl }
      entries.set(hash('sha256', jwt.text, 'base64'), verified)
      return verified
    }
  }
}

/** Reads what may be a token of this gate. */
export function readAccessToken (text: string): UnverifiedJwt | string {
  return readJwt(text, ALGORITHMS, 'token')
}
