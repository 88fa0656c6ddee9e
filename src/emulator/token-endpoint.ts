import { SignJWT, createLocalJWKSet, decodeJwt, jwtVerify, type CryptoKey, type JWTPayload } from 'jose'
import { json, oauthFailure, type Answer } from './answers.js'
import { grantedScopes } from './apps.js'
import { SeenOnce, checkProof, noncesAt } from './dpop.js'
import type { App, Org } from './state.js'

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512']
const MAX_ASSERTION_SECONDS = 3600
export const TOKEN_PATH = '/oauth2/v1/token'

/** What the token endpoint keeps. */
export interface TokenIssuer {
  readonly org: Org
  /** signs access tokens */
  readonly key: CryptoKey
  readonly nonceSecret: string
  readonly lifetimeSeconds: number
  readonly assertions: SeenOnce
  readonly proofs: SeenOnce
}

/** The client that an assertion claims to be from, before anything is verified; for the rate limit alone. */
export function claimedClient (form: URLSearchParams): string | undefined {
  try {
    return decodeJwt(form.get('client_assertion') ?? '').iss
  } catch {
    return undefined
  }
}

/**
 * POST /oauth2/v1/token for service apps: client_credentials with private_key_jwt (facts.md, "Service app token").
 *
 * @param proof the DPoP header
 * @param now epoch milliseconds
 */
export async function issueToken (issuer: TokenIssuer, form: URLSearchParams, proof: string | undefined, now: number): Promise<Answer> {
  if (form.get('grant_type') !== 'client_credentials') return oauthFailure(400, 'unsupported_grant_type', 'The authorization grant type is not supported by the authorization server.')
  const app = await authenticateClient(issuer, form, now)
  if (typeof app === 'string') return oauthFailure(401, 'invalid_client', app)
  const scopes = (form.get('scope') ?? '').split(' ').filter(scope => scope !== '')
  const granted = grantedScopes(app)
  if (scopes.length === 0) return oauthFailure(400, 'invalid_scope', 'The authorization server resource does not have any configured default scopes, \'scope\' must be provided.')
  const refused = scopes.filter(scope => !granted.has(scope))
  if (refused.length > 0) return oauthFailure(400, 'invalid_scope', `One or more scopes are not configured for the authorization server resource: ${refused.join(' ')}.`)
  if (!app.dpop && proof === undefined) return grant(issuer, app, scopes, undefined, now)
  const nonces = noncesAt(issuer.nonceSecret, now)
  const checked = await checkProof(proof, { method: 'POST', url: issuer.org.origin + TOKEN_PATH, nonces, now }, issuer.proofs)
  const nonceLine = ['dpop-nonce', nonces[0] ?? '']
  if ('error' in checked) return oauthFailure(400, checked.error, checked.description, checked.error === 'use_dpop_nonce' ? nonceLine : [])
  return grant(issuer, app, scopes, checked.jkt, now, nonceLine)
}

/** The app, or why the assertion is refused. */
async function authenticateClient (issuer: TokenIssuer, form: URLSearchParams, now: number): Promise<App | string> {
  if (form.get('client_assertion_type') !== ASSERTION_TYPE) return 'Client authentication failed: client_assertion_type is not supported.'
  const assertion = form.get('client_assertion') ?? ''
  const claimed = claimedClient(form)
  const app = issuer.org.apps.get(claimed ?? '')
  if (app === undefined || app.document['status'] !== 'ACTIVE') return 'Invalid value for \'client_id\' parameter.'
  let payload: JWTPayload
  try {
    const options = { algorithms: ALGORITHMS, issuer: app.id, subject: app.id, audience: issuer.org.origin + TOKEN_PATH, requiredClaims: ['exp'], currentDate: new Date(now) }
    payload = (await jwtVerify(assertion, createLocalJWKSet(app.jwks), options)).payload
  } catch (error) {
    return `The client_assertion is not valid: ${error instanceof Error && 'code' in error ? String(error.code) : 'malformed'}.`
  }
  const expires = payload.exp ?? 0
  if (expires > now / 1000 + MAX_ASSERTION_SECONDS) return 'The client_assertion has an expiration too far into the future.'
  if (payload.jti !== undefined && !issuer.assertions.first(`${app.id} ${payload.jti}`, expires * 1000, now)) return 'The client_assertion has already been used.'
  return app
}

async function grant (issuer: TokenIssuer, app: App, scopes: readonly string[], jkt: string | undefined, now: number, headers: readonly string[] = []): Promise<Answer> {
  const { org, key, lifetimeSeconds } = issuer
  const issued = Math.floor(now / 1000)
  const claims = { ver: 1, cid: app.id, scp: scopes, ...(jkt === undefined ? {} : { cnf: { jkt } }) }
  const token = await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'emulator' }).setIssuer(org.origin).setAudience(org.origin)
    .setSubject(app.id).setIssuedAt(issued).setExpirationTime(issued + lifetimeSeconds).setJti(org.secret('AT.')).sign(key)
  org.accessTokens.set(token, { clientId: app.id, scopes: new Set(scopes), expiresAt: now + lifetimeSeconds * 1000, jkt })
  return json({ token_type: jkt === undefined ? 'Bearer' : 'DPoP', expires_in: lifetimeSeconds, access_token: token, scope: scopes.join(' ') }, 200, headers)
}
