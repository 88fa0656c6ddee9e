import { resolve } from 'node:path'
import { hasErrors, type Problem } from '../domain/problem.js'
import { secretReferences, type AuditConfig, type Config, type FilePlace, type IssuerConfig, type LimitsConfig, type LocalReference, type SecretReference, type SecretStoresConfig, type SinkConfig, type TelemetryConfig, type TokenConfig, type UpstreamConfig } from './config.js'
import { endOfDay, formats, percentOf } from './formats.js'
import { checkRules } from './rules.js'
import type { WrittenConfig, WrittenLocal, WrittenReference, WrittenSink, WrittenToken, WrittenUpstream } from './schema.js'
import { createValidate, type Validate } from './validate.js'
import { readConfigYaml, type ConfigYaml, type Path } from './yaml.js'

/** A file's text, with the path that problems show. */
export interface SourceFile {
  readonly path: string
  readonly text: string
  /** of a policy: inside the policies folder */
  readonly name?: string
  /** of its bytes and mode, when it is known */
  readonly digest?: string
}

export interface LoadedConfig {
  /** undefined when any problem is an error */
  readonly config?: Config
  /** where the policies are, as long as the file says so: theirs are looked for even when the rest would not load */
  readonly policies?: FilePlace
  /** all of them, in the order of the file; they repeat no value that could be a secret */
  readonly problems: readonly Problem[]
}

/** Loads narrowgate.yaml. The schema is compiled once, here; each load is pure. */
export function createConfigLoader (validate: Validate = createValidate()): (source: SourceFile, directory: string, now: number) => LoadedConfig {
  return (source, directory, now) => load(source, directory, now, validate)
}

/**
 * Loads narrowgate.yaml once.
 *
 * @param source the text; its path is what problems show
 * @param directory absolute path that relative paths start from: the config file's
 * @param now epoch milliseconds, for what has expired
 */
export function loadConfig (source: SourceFile, directory: string, now: number): LoadedConfig {
  return createConfigLoader()(source, directory, now)
}

function load (source: SourceFile, directory: string, now: number, validate: Validate): LoadedConfig {
  const yaml = readConfigYaml(source.path, source.text)
  if (yaml.problems.length > 0) return { problems: yaml.problems }
  const problems = [...validate(yaml), ...checkRules(yaml, now)]
    .sort((a, b) => a.line - b.line || a.column - b.column)
  if (hasErrors(problems)) return { problems, policies: policiesOf(source.path, directory, yaml) }
  const config = compile(source.path, directory, yaml)
  const homeless = withoutStore(config)
  return homeless.length > 0 ? { problems: [...problems, ...homeless], policies: config.policies } : { config, policies: config.policies, problems }
}

/** The other services are found by their clients; where Vault is has to be said. */
function withoutStore (config: Config): Problem[] {
  if (config.secretStores.vault !== undefined) return []
  return secretReferences(config).filter(reference => reference.kind === 'vault').map(({ place }) => ({
    severity: 'error', ...place, message: 'it is not said where Vault is', hint: 'add secretStores: { vault: { address: https://…, auth: … } }'
  }))
}

/** `useDefaults` has written the default into a mapping that has problems elsewhere. */
function policiesOf (file: string, directory: string, yaml: ConfigYaml): FilePlace | undefined {
  const { policies } = yaml.value as { policies?: unknown }
  if (typeof policies !== 'string' || formats.get('file-path')!(policies) !== undefined) return undefined
  return { path: resolve(directory, policies), place: { file, ...yaml.locate(['policies']) } }
}

/** Only called with a value that the schema and the rules have accepted. */
function compile (file: string, directory: string, yaml: ConfigYaml): Config {
  const written = yaml.value as WrittenConfig
  const from = (path: string) => path.startsWith('$') ? path : resolve(directory, path)
  const place = (path: Path): FilePlace['place'] => ({ file, ...yaml.locate(path) })
  const local = ({ env, file }: WrittenLocal, path: Path, confidential = true): LocalReference => env !== undefined
    ? { kind: 'env', name: env, place: place(path), confidential }
    : { kind: 'file', path: from(file!), place: place(path), confidential }
  const reference = (value: WrittenReference, path: Path, confidential = true): SecretReference => {
    const where = { place: place(path), confidential }
    const { vault, awsSecretsManager, googleSecretManager, azureKeyVault } = value
    if (vault !== undefined) return { kind: 'vault', ...vault, mount: vault.mount ?? VAULT_MOUNT, ...where }
    if (awsSecretsManager !== undefined) return { kind: 'awsSecretsManager', ...awsSecretsManager, ...where }
    if (googleSecretManager !== undefined) return { kind: 'googleSecretManager', ...googleSecretManager, ...where }
    if (azureKeyVault !== undefined) return { kind: 'azureKeyVault', ...azureKeyVault, vault: vaultOrigin(azureKeyVault.vault), ...where }
    return local(value, path, confidential)
  }

  const { listen, admin, limits } = written
  const { tls } = listen
  return Object.freeze<Config>({
    file,
    listen: {
      host: listen.host,
      port: listen.port,
      tls: tls === undefined
        ? undefined
        : {
            cert: reference(tls.cert, ['listen', 'tls', 'cert'], false),
            key: reference(tls.key, ['listen', 'tls', 'key']),
            clientCa: tls.clientCa === undefined ? undefined : reference(tls.clientCa, ['listen', 'tls', 'clientCa'], false),
            crl: tls.crl === undefined ? undefined : reference(tls.crl, ['listen', 'tls', 'crl'], false)
          },
      trustedProxies: listen.trustedProxies,
      clientCertHeader: listen.clientCertHeader,
      bodyLimitBytes: listen.bodyLimitBytes,
      bodyMemoryBytes: listen.bodyMemoryBytes,
      maxConnections: listen.maxConnections,
      maxConnectionsPerAddress: listen.maxConnectionsPerAddress,
      maxRequests: listen.maxRequests,
      shedAfterMs: listen.shedAfterMs
    },
    publicUrl: written.publicUrl,
    admin,
    tokens: { ...written.tokens, keys: written.tokens.keys.map((key, index) => reference(key, ['tokens', 'keys', index])) },
    issuers: written.issuers.map((issuer, index) => compileIssuer(issuer, ['issuers', index], reference)),
    policies: { path: from(written.policies), place: place(['policies']) },
    upstreams: new Map(Object.entries(written.upstreams).map(([name, upstream]) => [name, compileUpstream(name, upstream, reference)])),
    limits: {
      ceiling: percentOf(limits.ceiling)!,
      store: compileStore(limits.store, reference),
      onStoreLoss: limits.onStoreLoss,
      org: limits.org,
      credentialShare: percentOf(limits.credentialShare)!,
      concurrency: limits.concurrency,
      clientConcurrency: percentOf(limits.clientConcurrency)!
    },
    audit: compileAudit(written.audit, from, reference),
    telemetry: compileTelemetry(written.telemetry, reference),
    secretStores: compileStores(written.secretStores, local),
    production: written.production,
    workers: written.workers
  })
}

function compileStore (written: WrittenConfig['limits']['store'], reference: MakeReference): LimitsConfig['store'] {
  if (written === 'memory') return 'memory'
  const { url, ca, commandTimeoutMs = 50, prefix = 'narrowgate:', ...rest } = written.redis
  const at: Path = ['limits', 'store', 'redis']
  return { ...rest, commandTimeoutMs, prefix, url: reference(url, [...at, 'url']), ca: ca === undefined ? undefined : reference(ca, [...at, 'ca'], false) }
}

function compileIssuer ({ jwks, ca, ...rest }: WrittenConfig['issuers'][number], at: Path, reference: MakeReference): IssuerConfig {
  return {
    ...rest,
    jwks: jwks === undefined ? undefined : jwks.url !== undefined ? { kind: 'url', url: jwks.url } : { kind: 'file', reference: reference({ file: jwks.file }, [...at, 'jwks'], false) },
    ca: ca === undefined ? undefined : reference(ca, [...at, 'ca'], false)
  }
}

function compileTelemetry (written: WrittenConfig['telemetry'], reference: MakeReference): TelemetryConfig | undefined {
  if (written === undefined) return undefined
  const { otlp: { url, authorization, ca }, sampling, ...rest } = written
  const at: Path = ['telemetry', 'otlp']
  return {
    ...rest,
    url,
    sampling: percentOf(sampling)!,
    authorization: authorization === undefined ? undefined : reference(authorization, [...at, 'authorization']),
    ca: ca === undefined ? undefined : reference(ca, [...at, 'ca'], false)
  }
}

function compileAudit (written: WrittenConfig['audit'], from: (path: string) => string, reference: MakeReference): AuditConfig {
  const optional = (value: WrittenReference | undefined, path: Path, confidential = true) => value === undefined ? undefined : reference(value, path, confidential)
  return {
    key: optional(written.key, ['audit', 'key']),
    redact: written.redact as AuditConfig['redact'],
    redactKey: optional(written.redactKey, ['audit', 'redactKey']),
    spool: from(written.spool),
    sinks: written.sinks.map((sink, index) => compileSink(sink, (value, ...name) => optional(value, ['audit', 'sinks', index, ...name], name[1] !== 'ca' && name[1] !== 'cert'), from))
  }
}

/** Only the rules know that exactly one kind is there; the schema's defaults have filled in the rest. */
function compileSink (written: WrittenSink, reference: (value: WrittenReference | undefined, ...path: string[]) => SecretReference | undefined, from: (path: string) => string): SinkConfig {
  const { stdout, file, syslog, splunk, https, otlp } = written
  const common = <T extends { format: unknown, filter?: unknown }>(sink: T) => sink as unknown as Omit<T, 'format' | 'filter' | 'delivery'> & Pick<SinkConfig, 'format' | 'filter' | 'delivery'>
  if (file !== undefined) return { kind: 'file', ...common(file), path: from(file.path) }
  if (syslog !== undefined) return { kind: 'syslog', ...common(syslog), ca: reference(syslog.ca, 'syslog', 'ca'), cert: reference(syslog.cert, 'syslog', 'cert'), key: reference(syslog.key, 'syslog', 'key') }
  if (splunk !== undefined) return { kind: 'splunk', ...common(splunk), ca: reference(splunk.ca, 'splunk', 'ca'), token: reference(splunk.token, 'splunk', 'token')! }
  if (https !== undefined) return { kind: 'https', ...common(https), ca: reference(https.ca, 'https', 'ca'), hmacKey: reference(https.hmacKey, 'https', 'hmacKey')! }
  if (otlp !== undefined) return { kind: 'otlp', ...common(otlp), ca: reference(otlp.ca, 'otlp', 'ca'), authorization: reference(otlp.authorization, 'otlp', 'authorization') }
  return { kind: 'stdout', ...common(stdout!), delivery: 'buffered' }
}

const VAULT_MOUNT = 'secret'
/** Where Kubernetes puts a pod's service account token. */
const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token'

function vaultOrigin (vault: string): string {
  return vault.startsWith('https://') ? vault : `https://${vault.toLowerCase()}.vault.azure.net`
}

function compileStores ({ refreshSeconds, vault, azureKeyVault, ...rest }: WrittenConfig['secretStores'], local: MakeLocal): SecretStoresConfig {
  const ca = (file: WrittenLocal | undefined, ...path: string[]) => file === undefined ? undefined : local(file, ['secretStores', ...path, 'ca'], false)
  return {
    ...rest,
    refreshMs: refreshSeconds * 1000,
    azureKeyVault: { ca: ca(azureKeyVault.ca, 'azureKeyVault') },
    vault: vault === undefined ? undefined : { address: vault.address, namespace: vault.namespace, ca: ca(vault.ca, 'vault'), auth: compileAuth(vault.auth, local) }
  }
}

/** Only the rules know that exactly one kind is there. */
function compileAuth ({ token, appRole, kubernetes }: NonNullable<WrittenConfig['secretStores']['vault']>['auth'], local: MakeLocal): NonNullable<SecretStoresConfig['vault']>['auth'] {
  const at: Path = ['secretStores', 'vault', 'auth']
  if (token !== undefined) return { kind: 'token', token: local(token, [...at, 'token']) }
  if (appRole !== undefined) return { kind: 'appRole', ...appRole, secretId: local(appRole.secretId, [...at, 'appRole', 'secretId']) }
  const { role, mount, token: account = { file: SERVICE_ACCOUNT_TOKEN } } = kubernetes!
  // Kubernetes lets every user of the container read it.
  return { kind: 'kubernetes', role, mount, token: local(account, [...at, 'kubernetes', 'token'], false) }
}

type MakeLocal = (value: WrittenLocal, path: Path, confidential?: boolean) => LocalReference
type MakeReference = (value: WrittenReference, path: Path, confidential?: boolean) => SecretReference

function compileUpstream (name: string, written: WrittenUpstream, reference: MakeReference): UpstreamConfig {
  const at: Path = ['upstreams', name]
  const token = (value: WrittenToken, path: Path): TokenConfig => ({
    value: reference(value.value, [...path, 'value']),
    next: value.next === undefined ? undefined : reference(value.next, [...path, 'next']),
    exception: { ticket: value.exception.ticket, approvedBy: value.exception.approvedBy, expiresAt: endOfDay(value.exception.expires)! }
  })
  return {
    name,
    org: written.org,
    ca: written.ca === undefined ? undefined : reference(written.ca, [...at, 'ca'], false),
    credential: compileCredential(written, at, reference, token),
    authnToken: written.authnToken === undefined ? undefined : token(written.authnToken, [...at, 'authnToken']),
    proxy: written.proxy === undefined
      ? undefined
      : { url: written.proxy.url, authorization: written.proxy.authorization === undefined ? undefined : reference(written.proxy.authorization, [...at, 'proxy', 'authorization']) },
    // What an API token calls over plain http is a stub or a recording, which answers what it knows, in its order.
    ownCalls: written.ownCalls ?? (written.org.startsWith('https:') || written.credential.serviceApp !== undefined),
    timeouts: written.timeouts
  }
}

function compileCredential (written: WrittenUpstream, at: Path, reference: MakeReference, token: (value: WrittenToken, path: Path) => TokenConfig): UpstreamConfig['credential'] {
  const { serviceApp, apiToken } = written.credential
  if (serviceApp === undefined) return { kind: 'apiToken', ...token(apiToken!, [...at, 'credential', 'apiToken']) }
  const { clientId, keys, scopes, dpop } = serviceApp
  const path = [...at, 'credential', 'serviceApp', 'keys']
  return { kind: 'serviceApp', clientId, keys: keys.map((key, index) => reference(key, [...path, index])), scopes, dpop }
}
