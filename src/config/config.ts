/** narrowgate.yaml, checked: paths absolute, percentages as 0..1, dates as epoch milliseconds. Immutable. */
export interface Config {
  /** the file, as the operator named it */
  readonly file: string
  readonly listen: ListenConfig
  /** origin that clients use, without a trailing slash */
  readonly publicUrl: string
  readonly admin: { readonly host: string, readonly port: number }
  /** absolute path of the policies folder */
  readonly policies: FilePlace
  readonly upstreams: ReadonlyMap<string, UpstreamConfig>
  readonly limits: LimitsConfig
  readonly audit: { readonly sinks: readonly SinkConfig[] }
  readonly production: boolean
  readonly workers: number
}

export interface ListenConfig {
  readonly host: string
  readonly port: number
  readonly tls?: { readonly cert: SecretReference, readonly key: SecretReference }
  /** checked CIDR texts */
  readonly trustedProxies: readonly string[]
  readonly bodyLimitBytes: number
}

export interface UpstreamConfig {
  readonly name: string
  /** origin, without a trailing slash */
  readonly org: string
  readonly ca?: SecretReference
  readonly credential:
    | { readonly kind: 'serviceApp', readonly clientId: string, readonly keys: readonly SecretReference[], readonly scopes: 'auto' | readonly string[], readonly dpop: boolean }
    | ({ readonly kind: 'apiToken' } & TokenConfig)
  readonly authnToken?: TokenConfig
  readonly timeouts: { readonly connectMs: number, readonly headersMs: number, readonly idleMs: number }
}

/** An API token, and the exception that permits it. */
export interface TokenConfig {
  readonly value: SecretReference
  readonly exception: {
    readonly ticket: string
    readonly approvedBy: string
    /** epoch milliseconds of the first moment at which the token may no longer be used (answer 503 then) */
    readonly expiresAt: number
  }
}

export interface LimitsConfig {
  /** part of the org's limits that the gate lets through, 0..1 */
  readonly ceiling: number
  readonly store: 'memory'
  /** calls per minute by `[METHOD[,METHOD] ]bucket` or `*` */
  readonly org: Readonly<Record<string, number>>
  /** part of the org's limits that Okta grants the credential, 0..1 */
  readonly credentialShare: number
  /** calls that the org takes at once; the gate uses ceiling × this */
  readonly concurrency: number
}

export type SinkConfig = { readonly kind: 'stdout' } | { readonly kind: 'file', readonly path: string }

/** Where something stands in the config file; problems found later name it. */
export interface Place { readonly file: string, readonly line: number, readonly column: number }

/** An absolute path, and where it was written. */
export interface FilePlace { readonly path: string, readonly place: Place }

/** Where a secret (or a certificate) is kept. Its text is read by secret-files.ts. */
export type SecretReference = {
  readonly place: Place
  /** false: a certificate, which anyone may read */
  readonly confidential: boolean
} & (
  | { readonly kind: 'env', readonly name: string }
  /** `path` is absolute, or begins with `$CREDENTIALS_DIRECTORY/` (systemd) */
  | { readonly kind: 'file', readonly path: string }
)

/** Every reference of a config, each once. */
export function secretReferences (config: Config): SecretReference[] {
  const references: SecretReference[] = []
  if (config.listen.tls !== undefined) references.push(config.listen.tls.cert, config.listen.tls.key)
  for (const { ca, credential, authnToken } of config.upstreams.values()) {
    if (ca !== undefined) references.push(ca)
    if (credential.kind === 'serviceApp') references.push(...credential.keys)
    else references.push(credential.value)
    if (authnToken !== undefined) references.push(authnToken.value)
  }
  return references
}
