import { unreachable } from '../domain/rejection.js'

/** narrowgate.yaml, checked: paths absolute, percentages as 0..1, dates as epoch milliseconds. Immutable. */
export interface Config {
  /** the file, as the operator named it */
  readonly file: string
  readonly listen: ListenConfig
  /** origin that clients use, without a trailing slash */
  readonly publicUrl: string
  readonly admin: { readonly host: string, readonly port: number }
  readonly tokens: TokensConfig
  readonly issuers: readonly IssuerConfig[]
  /** absolute path of the policies folder */
  readonly policies: FilePlace
  readonly upstreams: ReadonlyMap<string, UpstreamConfig>
  readonly limits: LimitsConfig
  readonly audit: AuditConfig
  /** absent: neither traces nor metrics are sent anywhere */
  readonly telemetry?: TelemetryConfig
  readonly secretStores: SecretStoresConfig
  readonly production: boolean
  readonly workers: number
}

export interface ListenConfig {
  readonly host: string
  readonly port: number
  /** `clientCa`: client certificates are asked for, and believed when one of these authorities issued them */
  readonly tls?: { readonly cert: SecretReference, readonly key: SecretReference, readonly clientCa?: SecretReference, readonly crl?: SecretReference }
  /** checked CIDR texts */
  readonly trustedProxies: readonly string[]
  /** the Client-Cert header of trusted proxies is believed */
  readonly clientCertHeader: boolean
  readonly bodyLimitBytes: number
  /** what the bodies of all requests may take up together */
  readonly bodyMemoryBytes: number
  readonly maxConnections: number
  /** from one address that is no trusted proxy */
  readonly maxConnectionsPerAddress: number
  /** on the road at once */
  readonly maxRequests: number
  /** standing delay of the event loop from which requests of strangers are refused */
  readonly shedAfterMs: number
}

/** The gate's own access tokens, and how far the clocks of others may be off. */
export interface TokensConfig {
  /** the first signs, all verify; none: a key that lives as long as the process */
  readonly keys: readonly SecretReference[]
  readonly lifetimeSeconds: number
  readonly clockSkewSeconds: number
  /** what becomes of an id that may be used once while the shared store does not answer */
  readonly onStoreLoss: 'refuse' | 'alone'
}

/** An issuer whose tokens workloads may present. */
export interface IssuerConfig {
  /** compared letter by letter */
  readonly issuer: string
  /** absent: found by discovery */
  readonly jwks?: { readonly kind: 'url', readonly url: string } | { readonly kind: 'file', readonly reference: SecretReference }
  readonly algorithms: readonly string[]
  readonly allowPrivateNetwork: boolean
  readonly ca?: SecretReference
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
  /** connections go through it; `authorization` is the text of the Proxy-Authorization header */
  readonly proxy?: { readonly url: string, readonly authorization?: SecretReference }
  /** the gate asks this org who it is, and keeps its API tokens in use */
  readonly ownCalls: boolean
  readonly timeouts: { readonly connectMs: number, readonly headersMs: number, readonly idleMs: number }
}

/** An API token, and the exception that permits it. */
export interface TokenConfig {
  readonly value: SecretReference
  /** presented when Okta refuses `value` */
  readonly next?: SecretReference
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
  readonly store: 'memory' | RedisStoreConfig
  /** what a gate does while the shared store is lost: its own share, or nothing */
  readonly onStoreLoss: 'share' | 'refuse'
  /** calls per minute by `[METHOD[,METHOD] ]bucket` or `*` */
  readonly org: Readonly<Record<string, number>>
  /** part of the org's limits that Okta grants the credential, 0..1 */
  readonly credentialShare: number
  /** calls that the org takes at once; the gate uses ceiling × this */
  readonly concurrency: number
  /** part of the calls in flight that one of several clients may have, 0..1 */
  readonly clientConcurrency: number
}

/** The store that several gates share. */
export interface RedisStoreConfig {
  /** redis:// or rediss://, with user and password */
  readonly url: SecretReference
  readonly ca?: SecretReference
  readonly sentinel?: { readonly name: string, readonly nodes: readonly string[] }
  readonly cluster?: readonly string[]
  readonly commandTimeoutMs: number
  /** gates there are at least; absent: as many as were seen */
  readonly replicas?: number
  readonly prefix: string
}

export interface AuditConfig {
  /** Ed25519, signs checkpoints; absent: chains without signatures */
  readonly key?: SecretReference
  readonly redact: readonly ('login' | 'token')[]
  readonly redactKey?: SecretReference
  /** absolute path of the folder that spools are kept in */
  readonly spool: string
  readonly sinks: readonly SinkConfig[]
}

/** What every sink has. */
export interface SinkBase {
  readonly format: 'ocsf' | 'ecs' | 'plain'
  readonly filter?: {
    readonly outcomes?: readonly ('allowed' | 'refused' | 'limited' | 'failed' | 'aborted' | 'unknown')[]
    readonly clients?: readonly string[]
    readonly operations?: readonly string[]
    readonly methods?: readonly string[]
    readonly minSeverity?: 'informational' | 'low' | 'medium' | 'high'
  }
  /** required: a write is forwarded only when its intent is on the disk */
  readonly delivery: 'required' | 'buffered'
}

/** A sink that is fed from a spool. */
export interface RemoteSink extends SinkBase {
  readonly maxSpoolBytes: number
  readonly ca?: SecretReference
}

export type SinkConfig =
  | ({ readonly kind: 'stdout' } & SinkBase)
  | ({ readonly kind: 'file', readonly path: string, readonly chain: boolean, readonly rotate: { readonly maxBytes: number, readonly maxHours: number, readonly keep?: number } } & SinkBase)
  | ({ readonly kind: 'syslog', readonly host: string, readonly port: number, readonly cert?: SecretReference, readonly key?: SecretReference } & RemoteSink)
  | ({ readonly kind: 'splunk', readonly url: string, readonly token: SecretReference, readonly index?: string } & RemoteSink)
  | ({ readonly kind: 'https', readonly url: string, readonly hmacKey: SecretReference } & RemoteSink)
  | ({ readonly kind: 'otlp', readonly url: string, readonly authorization?: SecretReference } & RemoteSink)

/** Where traces and metrics go, over OTLP. */
export interface TelemetryConfig {
  /** `/v1/traces` and `/v1/metrics` are added to it */
  readonly url: string
  readonly authorization?: SecretReference
  readonly ca?: SecretReference
  /** 0 … 1 of the traces that begin here */
  readonly sampling: number
  /** checked CIDR texts: whose traceparent is believed */
  readonly trustedNetworks: readonly string[]
  /** 0: metrics are not sent */
  readonly metricsSeconds: number
}

/** Where something stands in the config file; problems found later name it. */
export interface Place { readonly file: string, readonly line: number, readonly column: number }

/** An absolute path, and where it was written. */
export interface FilePlace { readonly path: string, readonly place: Place }

interface WhereWritten {
  readonly place: Place
  /** false: a certificate, which anyone may read */
  readonly confidential: boolean
}

/** A secret (or a certificate) on this machine. Its text is read by secret-files.ts. */
export type LocalReference = WhereWritten & (
  | { readonly kind: 'env', readonly name: string }
  /** `path` is absolute, or begins with `$CREDENTIALS_DIRECTORY/` (systemd) */
  | { readonly kind: 'file', readonly path: string }
)

/** A secret that another service keeps. Its text is read by secret-stores.ts. */
export type StoreReference = WhereWritten & (
  /** KV version 2: one field of the newest version */
  | { readonly kind: 'vault', readonly mount: string, readonly path: string, readonly field: string }
  /** `field`: the secret is a JSON object */
  | { readonly kind: 'awsSecretsManager', readonly id: string, readonly field?: string }
  /** `projects/P/secrets/S`, the newest version where none is named */
  | { readonly kind: 'googleSecretManager', readonly name: string }
  /** `vault` is an origin */
  | { readonly kind: 'azureKeyVault', readonly vault: string, readonly name: string }
)

/** Where a secret is kept. */
export type SecretReference = LocalReference | StoreReference

/** How the services that keep secrets are reached. What they want to be signed in with is kept on this machine. */
export interface SecretStoresConfig {
  readonly refreshMs: number
  readonly vault?: VaultConfig
  readonly awsSecretsManager: AwsConfig
  readonly googleSecretManager: GoogleConfig
  readonly azureKeyVault: AzureConfig
}

export interface VaultConfig {
  /** origin */
  readonly address: string
  readonly namespace?: string
  readonly ca?: LocalReference
  readonly auth:
    | { readonly kind: 'token', readonly token: LocalReference }
    | { readonly kind: 'appRole', readonly mount: string, readonly roleId: string, readonly secretId: LocalReference }
    /** `token`: the service account's */
    | { readonly kind: 'kubernetes', readonly mount: string, readonly role: string, readonly token: LocalReference }
}

export interface AwsConfig { readonly region?: string, readonly endpoint?: string }
export interface GoogleConfig { readonly endpoint?: string }
export interface AzureConfig { readonly ca?: LocalReference }

/** Whether another service has to be asked. */
export function isStored (reference: SecretReference): reference is StoreReference {
  return reference.kind !== 'env' && reference.kind !== 'file'
}

/** Every reference of a config, each once. */
export function secretReferences (config: Config): SecretReference[] {
  const references: SecretReference[] = []
  const { tls } = config.listen
  if (tls !== undefined) references.push(tls.cert, tls.key, ...[tls.clientCa, tls.crl].filter(file => file !== undefined))
  references.push(...config.tokens.keys)
  const { store } = config.limits
  if (store !== 'memory') references.push(store.url, ...store.ca === undefined ? [] : [store.ca])
  for (const reference of [config.telemetry?.authorization, config.telemetry?.ca]) if (reference !== undefined) references.push(reference)
  for (const reference of [...auditReferences(config.audit), ...storeReferences(config.secretStores)]) references.push(reference)
  for (const { jwks, ca } of config.issuers) {
    if (jwks?.kind === 'file') references.push(jwks.reference)
    if (ca !== undefined) references.push(ca)
  }
  for (const { ca, credential, authnToken, proxy } of config.upstreams.values()) {
    if (ca !== undefined) references.push(ca)
    if (credential.kind === 'serviceApp') references.push(...credential.keys)
    for (const token of [credential.kind === 'apiToken' ? credential : undefined, authnToken]) {
      if (token !== undefined) references.push(token.value, ...token.next === undefined ? [] : [token.next])
    }
    if (proxy?.authorization !== undefined) references.push(proxy.authorization)
  }
  return references
}

function storeReferences ({ vault, azureKeyVault }: SecretStoresConfig): LocalReference[] {
  const credential = vault === undefined ? undefined : vault.auth.kind === 'appRole' ? vault.auth.secretId : vault.auth.token
  return [vault?.ca, credential, azureKeyVault.ca].filter(reference => reference !== undefined)
}

function auditReferences ({ key, redactKey, sinks }: AuditConfig): SecretReference[] {
  return [key, redactKey, ...sinks.flatMap(sink => {
    switch (sink.kind) {
      case 'stdout': case 'file': return []
      case 'syslog': return [sink.ca, sink.cert, sink.key]
      case 'splunk': return [sink.ca, sink.token]
      case 'https': return [sink.ca, sink.hmacKey]
      case 'otlp': return [sink.ca, sink.authorization]
      default: return unreachable(sink)
    }
  })].filter(reference => reference !== undefined)
}
