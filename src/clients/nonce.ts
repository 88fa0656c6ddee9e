import { SignJWT } from 'jose'
import { isSignedBy, readJwt } from './jwt.js'
import type { TokenKeys } from './token-keys.js'

/** DPoP nonces of the token endpoint (RFC 9449 section 8). Bound to no key: Okta's Go SDK makes a new one per attempt. */
export interface Nonces {
  /** The nonce that clients get now. */
  current (now: number): Promise<string>
  accepts (nonce: unknown, now: number): Promise<boolean>
}

const ROTATE_MS = 86_400_000
/** Okta's Java SDK keeps one for 22 hours and gives up when it is refused; Okta takes one for three days (facts.md). */
const ACCEPT_MS = 3 * ROTATE_MS
const TYPE = 'nonce+jwt'
const ALGORITHMS: ReadonlySet<string> = new Set(['ES256'])

/**
 * A nonce is a small JWT, signed with the key of the access tokens: what one replica gave out, another accepts, and
 * a restart changes nothing. A new one each day; one of the last three days is accepted.
 *
 * @param jti fresh random text
 */
export function createNonces (publicUrl: string, keys: TokenKeys, jti: () => string): Nonces {
  let made: { nonce: Promise<string>, at: number } | undefined
  const good = new Map<string, number>()

  async function verify (nonce: string, now: number): Promise<boolean> {
    const jwt = readJwt(nonce, ALGORITHMS, 'nonce')
    if (typeof jwt === 'string' || jwt.header.typ !== TYPE || jwt.claims.iss !== publicUrl) return false
    const key = keys.verifying.get(jwt.header.kid ?? '')
    const { exp } = jwt.claims
    if (key === undefined || typeof exp !== 'number' || now >= exp * 1000 || !await isSignedBy(jwt, key)) return false
    // Each replica gives out one a day: a handful.
    if (good.size >= 100) good.clear()
    good.set(nonce, exp * 1000)
    return true
  }

  return {
    async current (now) {
      if (made === undefined || now >= made.at + ROTATE_MS || now < made.at) {
        const nonce = new SignJWT({})
          .setProtectedHeader({ alg: 'ES256', typ: TYPE, kid: keys.signing.kid })
          .setIssuer(publicUrl).setJti(jti()).setExpirationTime(Math.floor((now + ACCEPT_MS) / 1000))
          .sign(keys.signing.key)
        made = { nonce, at: now }
      }
      return await made.nonce
    },
    async accepts (nonce, now) {
      if (typeof nonce !== 'string' || nonce.length > 1024) return false
      const until = good.get(nonce)
      return until === undefined ? await verify(nonce, now) : now < until
    }
  }
}
