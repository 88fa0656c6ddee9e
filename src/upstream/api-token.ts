import type { Secret } from '../domain/secret.js'
import { CredentialFault, type CredentialProvider, type PresentedCredential } from './credential.js'

// Okta's tokens are of these characters; anything else could end the header line or is a slip of the operator.
const TOKEN = /^[\x21-\x7e]{1,4096}$/

/** An API token (SSWS) and the exception that approves its use. */
export interface ApiTokenOptions {
  /** the token as the configuration holds it now; read anew for every call, so that a changed file counts at once */
  readonly token: () => Secret
  /** epoch milliseconds: from this moment on the exception has ended and the token is not used */
  readonly exceptionExpiresAt: number
  /** epoch milliseconds */
  readonly now: () => number
}

/** A provider of `Authorization: SSWS …` (developer.okta.com/docs/reference/core-okta-api, authentication). */
export function createApiToken (options: ApiTokenOptions): CredentialProvider {
  let secret: Secret | undefined
  let presented: PresentedCredential | undefined
  let generation = 0

  function get (): PresentedCredential | CredentialFault {
    if (options.now() >= options.exceptionExpiresAt) return new CredentialFault('exception_expired')
    const current = options.token()
    if (current !== secret) {
      secret = current
      const text = current.reveal()
      if (presented?.token.reveal() !== text) {
        presented = TOKEN.test(text) ? { scheme: 'SSWS', token: current, generation: ++generation } : undefined
      }
    }
    return presented ?? new CredentialFault('empty')
  }

  return {
    get,
    // A refused token stays refused; only one that has been exchanged meanwhile is worth another call.
    invalidate: refused => { get(); return presented !== undefined && refused !== generation },
    status: () => {
      const found = get()
      return found instanceof CredentialFault
        ? { kind: 'apiToken', available: false, lastError: found.reason, expiresAt: options.exceptionExpiresAt }
        : { kind: 'apiToken', available: true, expiresAt: options.exceptionExpiresAt }
    },
    close: () => {}
  }
}
