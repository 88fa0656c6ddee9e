import type { Client } from '../domain/client.js'
import { reject, type Rejection } from '../domain/rejection.js'
import type { QueryParameter } from '../domain/target.js'
import type { AccessTokens } from './access-token.js'
import { checkProof, type Proof, type ProofKeys } from './dpop.js'
import type { Nonces } from './nonce.js'
import { checkAssertion, type Asserted, type KeyPairClient } from './private-key-jwt.js'
import { keyIdOf } from './key-id.js'
import type { SeenOnce } from './seen-once.js'
import { TOKEN_PATH } from './token-url.js'

/** A call of the token endpoint. */
export interface TokenRequest {
  /** of the form body; undefined: it was no form */
  readonly form: readonly QueryParameter[] | undefined
  /** Okta's Go and Java SDKs put the parameters here */
  readonly query: readonly QueryParameter[]
  readonly authorization?: string
  readonly dpop?: string
  readonly userAgent?: string
}

/** What the endpoint works with. */
export interface TokenDesk {
  readonly publicUrl: string
  readonly skewSeconds: number
  readonly entriesOf: (client: string) => readonly KeyPairClient[]
  /** May this client call from where the request came from? */
  readonly allowsSource: (client: Client) => boolean
  /** OAuth scopes of all that the client's policy allows; what was asked for is narrowed to them */
  readonly scopesOf: (client: string) => ReadonlySet<string>
  readonly tokens: AccessTokens
  readonly nonces: Nonces
  readonly seen: SeenOnce
  readonly proofKeys: ProofKeys
  /** a fresh id for each token */
  readonly jti: () => string
}

/** What goes back, and what the audit log gets to know. */
export interface TokenAnswer {
  readonly status: number
  readonly body: string
  /** beside Content-Type and the ones that every answer has; a flat list */
  readonly headers: readonly string[]
  readonly client?: Client
  /** whom the assertion claimed to be from, not proved */
  readonly claimed?: string
  readonly refusal?: Rejection
  /** for the audit log, where no token was issued and nothing refused */
  readonly step?: string
}

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const KNOWN = ['grant_type', 'scope', 'client_assertion_type', 'client_assertion', 'client_id', 'client_secret'] as const
type Parameter = typeof KNOWN[number]

/**
 * `POST /oauth2/v1/token`: client credentials with private_key_jwt, as Okta's own endpoint does it (facts.md, "Service
 * app token"), for clients whose public key is registered in their policy. An assertion's `jti` is consumed only when a
 * token is issued: SDKs send the same assertion again at each step of the DPoP handshake.
 *
 * @param now epoch milliseconds
 */
export async function answerTokenRequest (request: TokenRequest, desk: TokenDesk, now: number): Promise<TokenAnswer> {
  const parameters = collect(request)
  if (typeof parameters === 'string') return refuse(400, 'invalid_request', parameters, reject('bad_request', { causes: [parameters] }))
  const wrong = checkParameters(parameters, request)
  if (wrong !== undefined) return wrong
  const asserted = await checkAssertion(parameters.get('client_assertion')!, { publicUrl: desk.publicUrl, now, skewSeconds: desk.skewSeconds, entriesOf: desk.entriesOf })
  if ('why' in asserted) return { ...invalidClient(asserted.why), claimed: asserted.claimed }
  const { entry, key } = asserted
  const client: Client = { id: entry.client, keyId: keyIdOf(key.thumbprint), method: 'privateKeyJwt' }
  const about = { client, claimed: client.id }
  const named = parameters.get('client_id')
  if (named !== undefined && named !== client.id) return { ...invalidClient('client_id is not the client of the client_assertion'), ...about }
  if (entry.policyExpiresAt !== undefined && now >= entry.policyExpiresAt) return { ...refuse(401, 'invalid_client', 'the policy of this client has expired: ask its operators to extend it', reject('policy_expired')), ...about }
  if (!desk.allowsSource(client)) return { ...denied('this client may not call from this network address', reject('network', { detail: 'a valid key of this client came from outside its networks' })), ...about }
  return { ...await bindAndIssue(request, desk, asserted, parameters.get('scope'), now), ...about }
}

/** Each parameter once, from the body or the query; a text says what is wrong. */
function collect ({ form, query }: TokenRequest): ReadonlyMap<Parameter, string> | string {
  if (form === undefined) return 'the body is not application/x-www-form-urlencoded'
  const parameters = new Map<Parameter, string>()
  for (const { name, value } of [...form, ...query]) {
    const known = KNOWN.find(parameter => parameter === name)
    if (known === undefined || value === '') continue
    if (parameters.has(known)) return `the parameter ${known} occurs twice`
    parameters.set(known, value)
  }
  return parameters
}

function checkParameters (parameters: ReadonlyMap<Parameter, string>, { authorization }: TokenRequest): TokenAnswer | undefined {
  const grant = parameters.get('grant_type')
  if (grant === undefined) return refuse(400, 'invalid_request', 'grant_type is missing', reject('bad_request', { causes: ['grant_type is missing'] }))
  if (grant !== 'client_credentials') return refuse(400, 'unsupported_grant_type', 'the only grant here is client_credentials', reject('bad_request', { causes: ['the grant type is not client_credentials'] }))
  if (parameters.has('client_secret') || authorization !== undefined) {
    const answer = invalidClient('client secrets are not accepted here: send a client_assertion, signed with the private key of this client')
    // RFC 6749 section 5.2: who came with this header is told of the scheme that it used.
    return authorization === undefined ? answer : { ...answer, headers: ['WWW-Authenticate', 'Basic realm="narrowgate", error="invalid_client"'] }
  }
  if (!parameters.has('client_assertion')) return invalidClient('the client_assertion is missing: sign one with the private key of this client')
  if (parameters.get('client_assertion_type') !== ASSERTION_TYPE) return invalidClient(`client_assertion_type has to be ${ASSERTION_TYPE}`)
  return undefined
}

async function bindAndIssue (request: TokenRequest, desk: TokenDesk, asserted: Asserted, scope: string | undefined, now: number): Promise<TokenAnswer> {
  const { entry, key } = asserted
  const bound = await readProof(request, desk, asserted, now)
  if (bound !== undefined && 'status' in bound) return bound
  const used = await use(desk, asserted, bound, now)
  if (used !== undefined) return used
  const { token, expiresIn } = await desk.tokens.issue({ client: entry.client, keyThumbprint: key.thumbprint, jkt: bound?.jkt }, now, desk.jti())
  const granted = narrowed(scope, desk.scopesOf(entry.client))
  return {
    status: 200,
    body: JSON.stringify({ token_type: bound === undefined ? 'Bearer' : 'DPoP', expires_in: expiresIn, access_token: token, scope: granted }),
    headers: bound === undefined ? [] : ['DPoP-Nonce', await desk.nonces.current(now)]
  }
}

/**
 * The proof that the token is to be bound to; undefined: to none. The handshake is what each SDK expects: without a
 * proof 400 `invalid_dpop_proof` (Go and Java turn DPoP on then), without a nonce 400 `use_dpop_nonce`.
 */
async function readProof ({ dpop, userAgent }: TokenRequest, desk: TokenDesk, { entry, key }: Asserted, now: number): Promise<Proof | TokenAnswer | undefined> {
  if (entry.dpop === undefined || (dpop === undefined && entry.dpop === 'optional')) return undefined
  if (dpop === undefined) return refuse(400, 'invalid_dpop_proof', 'The DPoP proof JWT header is missing.', reject('bad_credential', { causes: ['the policy requires DPoP, and no proof came'] }))
  const proof = await checkProof(dpop, { publicUrl: desk.publicUrl, method: 'POST', path: TOKEN_PATH, now, skewSeconds: desk.skewSeconds }, desk.proofKeys)
  if (typeof proof === 'string') return refuse(400, 'invalid_dpop_proof', proof, reject('bad_credential', { causes: [proof] }))
  if (await desk.nonces.accepts(proof.nonce, now)) return proof
  const answer = { ...refuse(400, 'use_dpop_nonce', 'Authorization server requires nonce in DPoP proof.', undefined, ['DPoP-Nonce', await desk.nonces.current(now)]), step: 'token endpoint: a nonce, no token' }
  return proof.nonce === undefined && isNodeSdk(userAgent, proof.jkt, key.thumbprint) ? { ...answer, status: 200 } : answer
}

/**
 * Okta's Node SDK 8 throws on every status but 2xx before it looks for `use_dpop_nonce` (src/oauth.js, src/http.js), so
 * its own DPoP code is out of reach unless the nonce comes with a 2xx. It signs proof and assertion with one key, which
 * others are told not to do, and calls with node-fetch. Nothing is granted by this answer, which only a proof without
 * a nonce gets: an SDK that has sent one is not sent round in circles.
 */
function isNodeSdk (userAgent: string | undefined, jkt: string, thumbprint: string): boolean {
  return jkt === thumbprint && userAgent?.startsWith('node-fetch/') === true
}

/** Consumes both ids; the assertion's last, so that a proof that was used before leaves it alone. */
async function use (desk: TokenDesk, { entry, jti, untilMs }: Asserted, proof: Proof | undefined, now: number): Promise<TokenAnswer | undefined> {
  const values: [string, number, (why: string) => TokenAnswer][] = []
  if (proof !== undefined) values.push([`proof ${proof.jkt} ${proof.jti}`, proof.untilMs, why => refuse(400, 'invalid_dpop_proof', why, reject('bad_credential', { causes: [why] }))])
  if (jti !== undefined) values.push([`assertion ${jti}`, untilMs, invalidClient])
  for (const [value, until, refusal] of values) {
    const use = await desk.seen.use(entry.client, value, until, now)
    if (use === 'full') return refuse(503, 'temporarily_unavailable', 'too many ids of this client have to be remembered at the moment', reject('overloaded'))
    if (use === 'unknown') return refuse(503, 'temporarily_unavailable', 'it cannot be told at the moment whether this jti has been used before: try again', reject('replay_unknown'))
    if (use === 'again') return refusal('its jti has been used before: make a new one for each request')
  }
  return undefined
}

/** `okta.x.manage` includes `okta.x.read` (facts.md). */
function narrowed (asked: string | undefined, granted: ReadonlySet<string>): string {
  if (asked === undefined) return [...granted].join(' ')
  const wanted = [...new Set(asked.split(' '))]
  return wanted.filter(scope => granted.has(scope) || (scope.endsWith('.read') && granted.has(`${scope.slice(0, -4)}manage`))).join(' ')
}

function invalidClient (why: string): TokenAnswer {
  return refuse(401, 'invalid_client', why, reject('bad_credential', { causes: [why] }))
}

function denied (why: string, refusal: Rejection): TokenAnswer {
  return refuse(403, 'access_denied', why, refusal)
}

/** RFC 6749 section 5.2; the management API's error shape has no place here. */
function refuse (status: number, error: string, description: string, refusal: Rejection | undefined, headers: readonly string[] = []): TokenAnswer {
  return { status, body: JSON.stringify({ error, error_description: description }), headers, refusal }
}
