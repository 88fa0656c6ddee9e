import type { Authorization } from '../domain/credential.js'

/** Why there is no credential to present. Never a text that came from outside. */
export type CredentialReason =
  | 'not_configured' // the upstream has no credential of that kind
  | 'exception_expired' // the API token's approved exception has ended
  | 'empty' // the secret is empty or not a header value
  | 'no_scopes' // nothing to ask a token for
  | 'bad_key' // the signing key can't be read
  | 'token_unreachable' // the token endpoint did not answer
  | 'token_refused' // it answered with an OAuth error
  | 'token_invalid' // it answered with something else than a bearer token
  | 'closed'

/** The gate's own failure to come by a credential; the call is not sent. */
export class CredentialFault extends Error {
  readonly code = 'NARROWGATE_CREDENTIAL'
  readonly reason: CredentialReason
  /** OAuth error word (`invalid_client` …) or status, for the operator */
  readonly detail: string | undefined

  constructor (reason: CredentialReason, detail?: string) {
    super(`no upstream credential: ${reason}${detail === undefined ? '' : ` (${detail})`}`)
    this.name = 'CredentialFault'
    this.reason = reason
    this.detail = detail
  }
}

/** A credential, with the number by which a refusal of it can be reported. */
export interface PresentedCredential extends Authorization {
  /** grows with each new secret or token of its provider */
  readonly generation: number
  /** of a DPoP token: a new proof for one call. `path` is that of the target, without the query */
  readonly prove?: (method: string, path: string) => string
}

/** What operators are told of a credential when it happens. An alarm asks for somebody to act. */
export type CredentialNotice =
  | { readonly kind: 'key_refused', readonly alarm: true, readonly position: number, readonly detail?: string } // Okta refuses the first key, another one serves
  | { readonly kind: 'key_serves', readonly alarm: false, readonly kid?: string } // a token was obtained by another first key than before
  | { readonly kind: 'token_refused', readonly alarm: true, readonly position: number } // Okta refuses an API token; position counts from 1
  | { readonly kind: 'scopes_refused', readonly alarm: true, readonly scopes: readonly string[] }
  | { readonly kind: 'scopes_granted', readonly alarm: false }
  | { readonly kind: 'no_token', readonly alarm: true, readonly reason: CredentialReason, readonly detail?: string }
  | { readonly kind: 'token_again', readonly alarm: false }

/** What metrics, /readyz and `doctor` may know of a credential. */
export interface CredentialStatus {
  readonly kind: 'apiToken' | 'serviceApp'
  readonly available: boolean
  /** milliseconds since it was obtained */
  readonly ageMs?: number
  /** epoch milliseconds */
  readonly expiresAt?: number
  readonly lastError?: CredentialReason
  readonly lastErrorDetail?: string
  /** OAuth scopes granted */
  readonly scopes?: readonly string[]
  /** OAuth scopes that Okta refuses to this client */
  readonly refusedScopes?: readonly string[]
  /** which key or API token serves, counted from 1: more than 1 is an alarm */
  readonly position?: number
  /** tokens are bound to a key */
  readonly dpop?: boolean
}

/** Where a call's credential comes from. */
export interface CredentialProvider {
  /** What to present now; a promise only while there is none and one is being fetched. Never throws or rejects. */
  readonly get: () => PresentedCredential | CredentialFault | Promise<PresentedCredential | CredentialFault>
  /**
   * Okta refused the credential of that generation (401 E0000011), or asked for a nonce in its proof.
   *
   * @param nonce what Okta asked for
   * @returns true when get() will give another one, so that the call may be sent once more
   */
  readonly invalidate: (generation: number, nonce?: string) => boolean
  readonly status: () => CredentialStatus
  readonly close: () => void
}
