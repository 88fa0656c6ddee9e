import { X509Certificate } from 'node:crypto'
import type { Config, SecretReference, TokenConfig } from '../config/config.js'
import type { Secret } from '../domain/secret.js'
import type { CompiledPolicy } from '../policy/compile.js'

/** Something that ends on its own, and then keeps calls from being made. */
export interface Expiry {
  readonly what: 'policy' | 'client_key' | 'exception' | 'certificate'
  /** names only */
  readonly name: string
  /** epoch milliseconds */
  readonly at: number
}

/** Everything of a configuration that ends: exceptions, certificates, policies and client keys. */
export function expiriesOf (config: Config, secrets: ReadonlyMap<SecretReference, Secret>, policies: Iterable<CompiledPolicy>): readonly Expiry[] {
  const found: Expiry[] = []
  const certificate = (name: string, reference: SecretReference | undefined): void => {
    const at = reference === undefined ? undefined : endOf(secrets.get(reference)?.reveal() ?? '')
    if (at !== undefined) found.push({ what: 'certificate', name, at })
  }
  certificate('listen.tls.cert', config.listen.tls?.cert)
  certificate('listen.tls.clientCa', config.listen.tls?.clientCa)
  for (const { name, ca, credential, authnToken } of config.upstreams.values()) {
    certificate(`upstreams.${name}.ca`, ca)
    const exception = (part: string, token: TokenConfig): void => { found.push({ what: 'exception', name: `upstreams.${name}.${part}`, at: token.exception.expiresAt }) }
    if (credential.kind === 'apiToken') exception('credential.apiToken', credential)
    if (authnToken !== undefined) exception('authnToken', authnToken)
  }
  for (const { client, expiresAt, authenticate } of policies) {
    if (expiresAt !== undefined) found.push({ what: 'policy', name: client, at: expiresAt })
    for (const entry of authenticate) {
      if (entry.kind === 'apiKey' && entry.expiresAt !== undefined) found.push({ what: 'client_key', name: `${client} ${entry.sha256.slice(0, 8)}`, at: entry.expiresAt })
    }
  }
  return found
}

/** The first of a PEM's certificates to end. */
function endOf (pem: string): number | undefined {
  const ends = (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).flatMap(text => {
    try { return [Date.parse(new X509Certificate(text).validTo)] } catch { return [] }
  })
  return ends.length === 0 ? undefined : Math.min(...ends)
}
