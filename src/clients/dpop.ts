import { hash, type KeyObject } from 'node:crypto'
import { isSignedBy, readJwt, type UnverifiedJwt } from './jwt.js'
import { holdsSecret, readPublicKey } from './public-key.js'
import { Remembered } from '../domain/remembered.js'
import { isRequestUrl } from './token-url.js'

/** What a proof has to prove (RFC 9449 section 4.3). */
export interface ProofContext {
  readonly publicUrl: string
  /** as received */
  readonly method: string
  /** of the request, without the query */
  readonly path: string
  /** epoch milliseconds */
  readonly now: number
  readonly skewSeconds: number
  /** at the API: the access token that comes with it */
  readonly accessToken?: string
}

/** A proof that is good, and has not been consumed. */
export interface Proof {
  /** RFC 7638 thumbprint of its key */
  readonly jkt: string
  readonly jti: string
  readonly nonce?: unknown
  /** epoch milliseconds from which on it is refused for its age */
  readonly untilMs: number
}

/** Okta takes ES and RS; these two are what its SDKs sign with. */
export const PROOF_ALGORITHMS: ReadonlySet<string> = new Set(['RS256', 'ES256'])
/** A proof is good for five minutes (facts.md, DPoP). */
const MAX_AGE_SECONDS = 300
const MAX_JTI = 256

/** Proof keys by their JWK: reading one costs more than the whole rest of the check but the signature. */
export class ProofKeys {
  readonly #known: Remembered<{ key: KeyObject, thumbprint: string }>

  constructor (most = 2000) { this.#known = new Remembered(most) }

  async read (jwk: object, alg: string): Promise<{ key: KeyObject, thumbprint: string } | string> {
    const text = `${alg} ${JSON.stringify(jwk)}`
    const known = this.#known.get(text)
    if (known !== undefined) return known
    if (holdsSecret(jwk)) return 'the jwk of the DPoP proof is a private or symmetric key: send the public half, and replace the pair'
    const read = await readPublicKey(jwk)
    if (typeof read === 'string') return `the jwk of the DPoP proof ${read}`
    if (!read.algorithms.has(alg)) return 'the jwk of the DPoP proof does not fit its alg'
    const { key, thumbprint } = read
    this.#known.set(text, { key, thumbprint })
    return { key, thumbprint }
  }
}

/** @returns the proof, or what is wrong, in words that repeat nothing of it */
export async function checkProof (text: string, context: ProofContext, keys: ProofKeys): Promise<Proof | string> {
  const jwt = readJwt(text, PROOF_ALGORITHMS, 'DPoP proof')
  if (typeof jwt === 'string') return jwt
  const why = checkClaims(jwt, context)
  if (why !== undefined) return why
  const { jwk, alg } = jwt.header
  if (typeof jwk !== 'object' || jwk === null) return 'the DPoP proof carries no public key (jwk)'
  const key = await keys.read(jwk, alg)
  if (typeof key === 'string') return key
  if (!await isSignedBy(jwt, key.key)) return 'the signature of the DPoP proof does not fit its jwk'
  const { jti, iat, nonce } = jwt.claims
  return { jkt: key.thumbprint, jti: jti!, nonce: nonce as unknown, untilMs: (iat! + MAX_AGE_SECONDS + context.skewSeconds) * 1000 }
}

function checkClaims ({ header, claims }: UnverifiedJwt, { publicUrl, method, path, now, skewSeconds, accessToken }: ProofContext): string | undefined {
  if (header.typ !== 'dpop+jwt') return 'the typ of the DPoP proof is not dpop+jwt'
  const { htm, htu, iat, jti, ath } = claims as Record<string, unknown>
  if (htm !== method) return 'htm of the DPoP proof is not the method of this request'
  if (!isRequestUrl(htu, publicUrl, path)) return 'htu of the DPoP proof is not the URL of this request: is the base URL of the client the public URL of this gate?'
  if (typeof iat !== 'number' || !Number.isFinite(iat)) return 'the DPoP proof has no time (iat, a number of seconds)'
  const seconds = now / 1000
  if (iat <= seconds - MAX_AGE_SECONDS - skewSeconds) return 'the DPoP proof is older than five minutes: is the clock right?'
  if (iat > seconds + skewSeconds) return 'the DPoP proof was made in the future: is the clock right?'
  if (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI) return `the DPoP proof needs a jti, a text of 1 to ${MAX_JTI} characters`
  if (accessToken !== undefined && ath !== hash('sha256', accessToken, 'base64url')) return 'ath of the DPoP proof is not the hash of this access token'
  return undefined
}
