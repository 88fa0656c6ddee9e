import { CredentialFault, type CredentialProvider } from './credential.js'

/**
 * A provider in place of another one for the same org: until it has something to present, the one before goes on
 * being presented; then that one is closed. So a change of the credential leaves no gap.
 */
export function handOver (next: CredentialProvider, before: CredentialProvider): CredentialProvider {
  let previous: CredentialProvider | undefined = before

  return {
    get () {
      const found = next.get()
      if (previous === undefined) return found
      if (!(found instanceof Promise) && !(found instanceof CredentialFault)) {
        previous.close()
        previous = undefined
        return found
      }
      const old = previous.get()
      return old instanceof Promise || old instanceof CredentialFault ? found : old
    },
    // Generations of the two are counted apart; a late report of the one before costs at most a token more.
    invalidate: (generation, nonce) => (previous ?? next).invalidate(generation, nonce),
    status: () => next.status(),
    close () {
      previous?.close()
      next.close()
    }
  }
}
