import { resolve } from 'node:path'
import { hasErrors, type Problem } from '../domain/problem.js'
import type { Config, FilePlace, IssuerConfig, SecretReference, SinkConfig, TokenConfig, UpstreamConfig } from './config.js'
import { endOfDay, percentOf } from './formats.js'
import { checkRules } from './rules.js'
import type { WrittenConfig, WrittenReference, WrittenToken, WrittenUpstream } from './schema.js'
import { createValidate, type Validate } from './validate.js'
import { readConfigYaml, type ConfigYaml, type Path } from './yaml.js'

/** A file's text, with the path that problems show. */
export interface SourceFile {
  readonly path: string
  readonly text: string
}

export interface LoadedConfig {
  /** undefined when any problem is an error */
  readonly config?: Config
  /** all of them, in the order of the file; they repeat no value that could be a secret */
  readonly problems: readonly Problem[]
}

/** Loads narrowgate.yaml. The schema is compiled once, here; each load is pure. */
export function createConfigLoader (): (source: SourceFile, directory: string, now: number) => LoadedConfig {
  const validate = createValidate()
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
  return hasErrors(problems) ? { problems } : { config: compile(source.path, directory, yaml), problems }
}

/** Only called with a value that the schema and the rules have accepted. */
function compile (file: string, directory: string, yaml: ConfigYaml): Config {
  const written = yaml.value as WrittenConfig
  const from = (path: string) => path.startsWith('$') ? path : resolve(directory, path)
  const place = (path: Path): FilePlace['place'] => ({ file, ...yaml.locate(path) })
  const reference = (value: WrittenReference, path: Path, confidential = true): SecretReference => value.env !== undefined
    ? { kind: 'env', name: value.env, place: place(path), confidential }
    : { kind: 'file', path: from(value.file!), place: place(path), confidential }

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
      bodyLimitBytes: listen.bodyLimitBytes
    },
    publicUrl: written.publicUrl,
    admin,
    tokens: { ...written.tokens, keys: written.tokens.keys.map((key, index) => reference(key, ['tokens', 'keys', index])) },
    issuers: written.issuers.map((issuer, index) => compileIssuer(issuer, ['issuers', index], reference)),
    policies: { path: from(written.policies), place: place(['policies']) },
    upstreams: new Map(Object.entries(written.upstreams).map(([name, upstream]) => [name, compileUpstream(name, upstream, reference)])),
    limits: {
      ceiling: percentOf(limits.ceiling)!,
      store: 'memory',
      org: limits.org,
      credentialShare: percentOf(limits.credentialShare)!,
      concurrency: limits.concurrency
    },
    audit: { sinks: written.audit.sinks.map((sink): SinkConfig => sink.file === undefined ? { kind: 'stdout' } : { kind: 'file', path: from(sink.file.path) }) },
    production: written.production,
    workers: written.workers
  })
}

function compileIssuer ({ jwks, ca, ...rest }: WrittenConfig['issuers'][number], at: Path, reference: MakeReference): IssuerConfig {
  return {
    ...rest,
    jwks: jwks === undefined ? undefined : jwks.url !== undefined ? { kind: 'url', url: jwks.url } : { kind: 'file', reference: reference({ file: jwks.file }, [...at, 'jwks'], false) },
    ca: ca === undefined ? undefined : reference(ca, [...at, 'ca'], false)
  }
}

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
