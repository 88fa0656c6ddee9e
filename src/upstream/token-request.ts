import {
  allowInsecureRequests, clientCredentialsGrantRequest, customFetch, DPoP, isDPoPNonceError, modifyAssertion, PrivateKeyJwt,
  processClientCredentialsResponse, ResponseBodyError, type DPoPHandle
} from 'oauth4webapi'
import type { Dispatcher } from 'undici'
import { Secret } from '../domain/secret.js'
import type { RateHeaders } from './answer-head.js'
import { CredentialFault } from './credential.js'
import type { ProofKey } from './dpop.js'
import type { SigningKey } from './signing-key.js'

/** Bucket of the token endpoint. */
export const TOKEN_PATH = '/oauth2/v1/token'

const MAX_ANSWER_BYTES = 65_536
/** Both well under Okta's limit of an hour; five minutes in all, clock skew included. */
export const BACKDATED_SECONDS = 5
const LIFETIME_SECONDS = 240
/** A token without expires_in: Okta's are fixed at 3600 s (facts.md); unsaid, assume the least that is useful. */
const UNSAID_LIFETIME_SECONDS = 300

/** What the token endpoint granted. */
export interface GrantedToken {
  readonly token: Secret
  readonly lifetimeMs: number
  readonly scopes: readonly string[]
}

export interface TokenRequest {
  readonly dispatcher: Dispatcher
  /** origin, as checked by the agent */
  readonly org: string
  readonly clientId: string
  readonly key: SigningKey
  /** sorted */
  readonly scopes: readonly string[]
  /** epoch milliseconds */
  readonly now: number
  readonly timeoutMs: number
  /** the token has to be bound to a key; keeps the endpoint's nonce from one request to the next */
  readonly proofs?: DPoPHandle
  /** told of each answer: these calls count in the bucket of TOKEN_PATH */
  readonly observe?: (answer: { status: number, rate: RateHeaders, date?: string }) => void
}

/** What makes the proofs of the token endpoint, and knows its nonce. @param now epoch milliseconds */
export function createTokenProofs (key: ProofKey, now: () => number): DPoPHandle {
  return DPoP({}, key.pair, {
    [modifyAssertion]: (_header, payload) => { payload.iat = Math.floor(now() / 1000) - BACKDATED_SECONDS }
  })
}

/**
 * One OAuth 2.0 client credentials request with private_key_jwt (RFC 6749 section 4.4, RFC 7523; `aud` is the
 * endpoint invoked, `jti` is random), through the upstream's verified pool. With `proofs` it is made once more, under
 * a new assertion, when the endpoint asks for a nonce (RFC 9449 section 8).
 *
 * @throws CredentialFault, whose text holds OAuth's error word or a status and nothing else of the answer
 */
export async function requestToken (request: TokenRequest): Promise<GrantedToken> {
  const url = request.org + TOKEN_PATH
  const server = { issuer: request.org, token_endpoint: url }
  const client = { client_id: request.clientId }
  const issuedAt = Math.floor(request.now / 1000) - BACKDATED_SECONDS
  const authentication = PrivateKeyJwt({ key: request.key.key, kid: request.key.kid }, {
    [modifyAssertion]: (_header, payload) => {
      payload.aud = url
      payload.iat = issuedAt
      payload.exp = issuedAt + BACKDATED_SECONDS + LIFETIME_SECONDS
      delete payload.nbf
    }
  })
  const once = async (): Promise<Awaited<ReturnType<typeof processClientCredentialsResponse>>> => {
    const response = await clientCredentialsGrantRequest(server, client, authentication, { scope: request.scopes.join(' ') }, {
      [customFetch]: (target, init) => fetchThrough(request, new URL(target), init as unknown as FetchInit),
      [allowInsecureRequests]: url.startsWith('http:'), // loopback only: the agent has refused every other
      DPoP: request.proofs
    })
    return await processClientCredentialsResponse(server, client, response)
  }
  try {
    const granted = await once().catch(async (error: unknown) => {
      if (request.proofs !== undefined && isDPoPNonceError(error)) return await once()
      throw error
    })
    if (granted.token_type !== (request.proofs === undefined ? 'bearer' : 'dpop')) throw new CredentialFault('token_invalid', 'token_type')
    if (!/^[\x21-\x7e]{1,16384}$/.test(granted.access_token)) throw new CredentialFault('token_invalid', 'access_token')
    return {
      token: new Secret(granted.access_token),
      lifetimeMs: (granted.expires_in ?? UNSAID_LIFETIME_SECONDS) * 1000,
      scopes: granted.scope?.split(' ').filter(scope => scope !== '') ?? request.scopes
    }
  } catch (error) {
    throw faultOf(error)
  }
}

interface FetchInit { readonly method: string, readonly headers: Record<string, string>, readonly body: URLSearchParams }

/** fetch as oauth4webapi needs it, over the pool: one call, no redirect, no decompression, at most 64 kB. */
async function fetchThrough (request: TokenRequest, target: URL, init: FetchInit): Promise<Response> {
  const { statusCode, headers, body } = await request.dispatcher.request({
    origin: target.origin,
    path: target.pathname,
    method: init.method as Dispatcher.HttpMethod,
    headers: init.headers,
    body: init.body.toString(),
    headersTimeout: request.timeoutMs,
    bodyTimeout: request.timeoutMs
  })
  const text = (name: string): string | undefined => {
    const value = headers[name]
    return Array.isArray(value) ? value[0] : value
  }
  request.observe?.({
    status: statusCode,
    rate: { limit: text('x-rate-limit-limit'), remaining: text('x-rate-limit-remaining'), reset: text('x-rate-limit-reset') },
    date: text('date')
  })
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_ANSWER_BYTES) throw new CredentialFault('token_invalid', 'size')
    chunks.push(chunk)
  }
  if (statusCode < 200) throw new CredentialFault('token_invalid', String(statusCode))
  const type = text('content-type')
  const nonce = text('dpop-nonce')
  const bodyless = statusCode === 204 || statusCode === 304
  const kept = { ...type === undefined ? {} : { 'content-type': type }, ...nonce === undefined ? {} : { 'dpop-nonce': nonce } }
  return new Response(bodyless ? null : Buffer.concat(chunks), { status: statusCode, headers: kept })
}

/** Errors of oauth4webapi hold the answer's body, a token included; only words of a known form leave this room. */
function faultOf (error: unknown): CredentialFault {
  if (error instanceof CredentialFault) return error
  if (error instanceof ResponseBodyError) {
    return new CredentialFault('token_refused', /^[a-z_]{1,40}$/.test(error.error) ? error.error : String(error.status))
  }
  const { code, cause } = error as { code?: unknown, cause?: unknown }
  if (cause instanceof Response && cause.status !== 200) return new CredentialFault('token_refused', String(cause.status))
  const word = typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : undefined
  const ours = word !== undefined && (word.startsWith('OAUTH_') || word === 'ERR_INVALID_ARG_VALUE' || word === 'ERR_INVALID_ARG_TYPE')
  return new CredentialFault(ours ? 'token_invalid' : 'token_unreachable', word)
}
