import type { KeyObject } from 'node:crypto'
import { compactVerify, decodeJwt, decodeProtectedHeader, type CompactJWSHeaderParameters, type JWTPayload } from 'jose'

/** A signed JWT as it was read: nothing in it is proved before `isSignedBy` said so. */
export interface UnverifiedJwt {
  readonly text: string
  readonly header: CompactJWSHeaderParameters & { readonly alg: string }
  readonly claims: JWTPayload
}

/** Larger than any assertion, proof or CI token that was seen, smaller than what Node takes as a header. */
export const MAX_JWT_CHARACTERS = 8192

const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/

/** Looks like a JWT: says nothing more. */
export function isJwtShaped (text: string): boolean {
  return text.startsWith('eyJ') && text.includes('.')
}

/**
 * Reads a compact JWS whose payload are claims. Refuses before any signature is looked at: what is too large,
 * encrypted or nested, an algorithm that is not allowed (`none` and the symmetric ones never are), and critical
 * extensions (RFC 7515 section 4.1.11; this gate knows none).
 *
 * @param what how the caller knows it: 'assertion', 'token', 'proof'
 * @returns what was read, or why not, in words for its sender that repeat nothing of it
 */
export function readJwt (text: string, algorithms: ReadonlySet<string>, what: string): UnverifiedJwt | string {
  if (text.length > MAX_JWT_CHARACTERS) return `the ${what} is longer than ${MAX_JWT_CHARACTERS} characters`
  if (!COMPACT.test(text)) return text.split('.').length === 5 ? `the ${what} is encrypted: send a signed JWT` : `the ${what} is no compact signed JWT`
  let header, claims
  try {
    header = decodeProtectedHeader(text)
    claims = decodeJwt(text)
  } catch {
    return `the header or the claims of the ${what} are not JSON objects`
  }
  const { alg } = header
  if (typeof alg !== 'string') return `the ${what} names no algorithm (alg)`
  if (alg.toLowerCase() === 'none') return `the ${what} is not signed (alg none)`
  if (!algorithms.has(alg)) return `the algorithm of the ${what} is not accepted: use ${[...algorithms].join(', ')}`
  if (header.crit !== undefined || 'b64' in header) return `the ${what} has critical header parameters that this gate does not know`
  if (header['cty'] !== undefined) return `the ${what} holds another token (cty): send it unnested`
  return { text, header: header as UnverifiedJwt['header'], claims }
}

/** True when this public key signed it, by the algorithm that its header names. */
export async function isSignedBy (jwt: UnverifiedJwt, key: KeyObject): Promise<boolean> {
  try {
    await compactVerify(jwt.text, key, { algorithms: [jwt.header.alg] })
    return true
  } catch {
    return false
  }
}

/**
 * Judges `exp`, `nbf` and `iat` (RFC 7519 section 4.1). `exp` has to be there.
 *
 * @param now epoch milliseconds
 * @param skewSeconds how far the sender's clock may be off
 * @returns what is wrong
 */
export function checkTimes ({ exp, nbf, iat }: JWTPayload, now: number, skewSeconds: number, what: string): string | undefined {
  const seconds = now / 1000
  if (!isTime(exp)) return `the ${what} has no expiration time (exp, a number of seconds)`
  if (nbf !== undefined && !isTime(nbf)) return `nbf of the ${what} is no number of seconds`
  if (iat !== undefined && !isTime(iat)) return `iat of the ${what} is no number of seconds`
  if (exp <= seconds - skewSeconds) return `the ${what} has expired: is the sender's clock right?`
  if (nbf !== undefined && nbf > seconds + skewSeconds) return `the ${what} is not valid yet (nbf): is the sender's clock right?`
  if (iat !== undefined && iat > seconds + skewSeconds) return `the ${what} was issued in the future (iat): is the sender's clock right?`
  return undefined
}

/** Seconds since the epoch; milliseconds, a frequent mistake, are none. */
function isTime (value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 && value < 100_000_000_000
}
