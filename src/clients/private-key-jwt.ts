import { checkTimes, isSignedBy, readJwt, type UnverifiedJwt } from './jwt.js'
import { candidates, type PublicKey } from './public-key.js'
import { isTokenUrl } from './token-url.js'

/** How a client may use key pairs: an entry `privateKeyJwt` of its policy. */
export interface KeyPairClient {
  readonly client: string
  /** epoch milliseconds of the first refused moment of the policy */
  readonly policyExpiresAt?: number
  readonly keys: readonly PublicKey[]
  /** absent: proofs are ignored and tokens are plain bearer tokens, as Okta does for apps without DPoP */
  readonly dpop?: 'required' | 'optional'
  readonly requireJti: boolean
}

/** Where an assertion has to point, and when. */
export interface AssertionContext {
  readonly publicUrl: string
  /** epoch milliseconds */
  readonly now: number
  readonly skewSeconds: number
  /** the entries of a client; none for a client that is not known */
  readonly entriesOf: (client: string) => readonly KeyPairClient[]
}

/** Who signed an assertion. */
export interface Asserted {
  readonly entry: KeyPairClient
  readonly key: PublicKey
  /** to be used once */
  readonly jti?: string
  /** epoch milliseconds from which on the assertion is refused for its age */
  readonly untilMs: number
}

/** Why an assertion is refused. `claimed` is whom it says that it is from, not proved. */
export interface Unasserted {
  readonly why: string
  readonly claimed?: string
}

/** RS, PS and ES as Okta takes them (facts.md), and PS256; never a symmetric one. */
export const ASSERTION_ALGORITHMS: ReadonlySet<string> = new Set(['RS256', 'RS384', 'RS512', 'PS256', 'ES256', 'ES384', 'ES512'])
/** Okta's own bound (facts.md, "Service app token"). */
const MAX_LIFE_SECONDS = 3600
const MAX_CLIENT = 64
const MAX_JTI = 256

/**
 * Verifies a client assertion (RFC 7523 section 3, private_key_jwt). What depends on no client is said plainly; a
 * client that is not known, an unknown key and a wrong signature get one and the same answer, so that a stranger learns
 * nothing of who is known here.
 */
export async function checkAssertion (assertion: string, context: AssertionContext): Promise<Asserted | Unasserted> {
  const jwt = readJwt(assertion, ASSERTION_ALGORITHMS, 'client_assertion')
  if (typeof jwt === 'string') return { why: jwt }
  const why = checkClaims(jwt, context)
  const claimed = typeof jwt.claims.sub === 'string' && jwt.claims.sub.length <= MAX_CLIENT ? jwt.claims.sub : undefined
  if (why !== undefined) return { why, claimed }
  const signed = await findSigner(jwt, context.entriesOf(claimed!))
  if (signed === undefined) return { why: 'no client with this id has registered a key that signed this client_assertion: check the client id, the private key and its kid', claimed }
  const { jti } = jwt.claims
  if (jti === undefined && signed.entry.requireJti) return { why: 'the policy of this client requires a jti in its client_assertion', claimed }
  return { ...signed, jti, untilMs: (jwt.claims.exp! + context.skewSeconds) * 1000 }
}

function checkClaims ({ claims, header }: UnverifiedJwt, { publicUrl, now, skewSeconds }: AssertionContext): string | undefined {
  const { iss, sub, aud, exp, iat, jti } = claims
  if (header.typ !== undefined && (typeof header.typ !== 'string' || !/^(jwt|client-authentication\+jwt)$/i.test(header.typ))) return 'the typ of the client_assertion is not JWT: another kind of token was sent'
  if (header.kid !== undefined && (typeof header.kid !== 'string' || header.kid.length > MAX_JTI)) return 'kid of the client_assertion is no text'
  if (typeof iss !== 'string' || typeof sub !== 'string' || sub === '') return 'the client_assertion needs iss and sub, both the client id'
  if (iss !== sub) return 'iss and sub of the client_assertion differ: both are the client id'
  if (sub.length > MAX_CLIENT) return `a client id has at most ${MAX_CLIENT} characters`
  const audience: unknown = Array.isArray(aud) && aud.length === 1 ? aud[0] : aud
  if (!isTokenUrl(audience, publicUrl)) return 'aud of the client_assertion is not the token URL of this gate (its public URL with /oauth2/v1/token)'
  const times = checkTimes(claims, now, skewSeconds, 'client_assertion')
  if (times !== undefined) return times
  if (exp! > now / 1000 + MAX_LIFE_SECONDS + skewSeconds || (iat !== undefined && exp! - iat > MAX_LIFE_SECONDS)) return 'the client_assertion lives longer than one hour'
  if (jti !== undefined && (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI)) return `jti of the client_assertion is no text of 1 to ${MAX_JTI} characters`
  return undefined
}

async function findSigner (jwt: UnverifiedJwt, entries: readonly KeyPairClient[]): Promise<{ entry: KeyPairClient, key: PublicKey } | undefined> {
  for (const entry of entries) {
    for (const key of candidates(entry.keys, jwt.header.kid, jwt.header.alg)) {
      if (await isSignedBy(jwt, key.key)) return { entry, key }
    }
  }
  return undefined
}
