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
}

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
}

/** Where a call's credential comes from. */
export interface CredentialProvider {
  /** What to present now; a promise only while there is none and one is being fetched. Never throws or rejects. */
  readonly get: () => PresentedCredential | CredentialFault | Promise<PresentedCredential | CredentialFault>
  /**
   * Okta refused the credential of that generation (401 E0000011).
   *
   * @returns true when get() will give another one, so that the call may be sent once more
   */
  readonly invalidate: (generation: number) => boolean
  readonly status: () => CredentialStatus
  readonly close: () => void
}
