import { isStored, type SecretReference } from '../config/config.js'
import { shownName } from '../config/secret-source.js'
import type { Secret } from '../domain/secret.js'

/** Secrets as they are now: references are looked up by what they say, so that a reload may bring new objects. */
export class SecretBook {
  #secrets = new Map<string, Secret>()

  renew (secrets: ReadonlyMap<SecretReference, Secret>): void {
    this.#secrets = new Map([...secrets].map(([reference, secret]) => [nameOf(reference), secret]))
  }

  /** What reads a secret from now on, without building its name each time. */
  reader (reference: SecretReference): () => Secret {
    const name = nameOf(reference)
    return () => this.#get(name)
  }

  get (reference: SecretReference): Secret { return this.#get(nameOf(reference)) }

  #get (name: string): Secret {
    const secret = this.#secrets.get(name)
    if (secret === undefined) throw new Error('a secret was asked for that is not loaded')
    return secret
  }
}

/** Tells references apart, wherever they are written. */
export function nameOf (reference: SecretReference): string {
  if (isStored(reference)) return shownName(reference)
  return reference.kind === 'env' ? `env ${reference.name}` : `file ${reference.path}`
}
