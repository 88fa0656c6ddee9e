import { Type, type Static, type TSchema } from '../domain/json-schema.js'

/**
 * narrowgate.yaml as it is written. One source for the types, the validation and the JSON Schema that
 * editors use. Defaults live here. `errorMessage` is what a problem (and VS Code) says instead of ajv's
 * words; `literal` says what to do where a secret was written out.
 */
const strict = <P extends Record<string, TSchema>>(properties: P, options: object = {}) =>
  Type.Object(properties, { additionalProperties: false, ...options })

const withDefault = <P extends Record<string, TSchema>>(properties: P) => strict(properties, { default: {} })

const exactlyOne = <P extends Record<string, TSchema>>(properties: P, errorMessage: string, options: object = {}) =>
  strict(properties, { minProperties: 1, maxProperties: 1, errorMessage, ...options })

const text = (errorMessage: string) => Type.String({ minLength: 1, maxLength: 200, pattern: '\\S', errorMessage })

const onThisMachine = {
  env: Type.Optional(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,127}$', errorMessage: 'the name of an environment variable has letters, digits and _' })),
  file: Type.Optional(Type.String({ format: 'secret-path' }))
}

/** What a service that keeps secrets is signed in to with. */
const localReference = exactlyOne(onThisMachine, 'must be a reference: { env: NAME } or { file: path }', { reference: true })

const storePath = Type.String({ format: 'store-path', maxLength: 500 })
const field = Type.String({ minLength: 1, maxLength: 200, pattern: '^\\S+$', errorMessage: 'must be the name of a field' })

const reference = exactlyOne({
  ...onThisMachine,
  vault: Type.Optional(strict({ path: storePath, field, mount: Type.Optional(storePath) }, { description: 'HashiCorp Vault, KV version 2; the mount is called secret unless said otherwise' })),
  awsSecretsManager: Type.Optional(strict({
    id: Type.String({ pattern: '^[A-Za-z0-9/_+=.@:!-]{1,2048}$', errorMessage: 'must be the name or ARN of a secret' }),
    field: Type.Optional(field)
  }, { description: 'with field, the secret is a JSON object' })),
  googleSecretManager: Type.Optional(strict({
    name: Type.String({ pattern: '^projects/[A-Za-z0-9:.-]{1,100}(?:/locations/[a-z0-9-]{1,60})?/secrets/[A-Za-z0-9_-]{1,255}(?:/versions/[A-Za-z0-9_-]{1,63})?$', errorMessage: 'must be projects/PROJECT/secrets/NAME, with /versions/VERSION where it is not the newest' })
  })),
  azureKeyVault: Type.Optional(strict({
    vault: Type.String({ pattern: '^(?:[A-Za-z0-9-]{3,24}|https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?)$', errorMessage: 'must be the name of a vault, or its https origin' }),
    name: Type.String({ pattern: '^[A-Za-z0-9-]{1,127}$', errorMessage: 'the name of a secret of Azure has letters, digits and -' })
  }))
}, 'must be a reference: { env: NAME } or { file: path }, or one of { vault: … }, { awsSecretsManager: … }, { googleSecretManager: … }, { azureKeyVault: … }', { reference: true })

/** Certificates are no secrets, but they are files all the same. */
const publicFile = exactlyOne({ file: Type.Optional(Type.String({ format: 'secret-path' })) }, 'must be { file: path }')

const port = (fallback?: number) => Type.Integer({ minimum: 0, maximum: 65535, errorMessage: 'a port is a number from 0 (any free one) to 65535', default: fallback })
const host = (options: object) => Type.String({ format: 'host', ...options })
const percent = (fallback: string) => Type.String({ format: 'percent', default: fallback })
const milliseconds = (fallback: number) => Type.Integer({ minimum: 1, maximum: 3_600_000, default: fallback, errorMessage: 'must be milliseconds, 1 to 3600000' })

const connections = (fallback: number) => Type.Integer({ minimum: 1, maximum: 100_000, default: fallback, errorMessage: 'must be a number of connections, 1 to 100000' })

const exception = strict({
  ticket: text('name the ticket that approves the exception'),
  approvedBy: text('name who approved the exception'),
  expires: Type.String({ format: 'day' })
})
const apiToken = strict({ value: reference, next: Type.Optional(reference), exception })

const serviceApp = strict({
  clientId: Type.String({ pattern: '^[A-Za-z0-9_-]{1,100}$', errorMessage: 'the client id of the service app has letters, digits, _ and -' }),
  keys: Type.Array(reference, { minItems: 1, maxItems: 10, errorMessage: 'must list at least one private key; the first signs' }),
  scopes: Type.Union([
    Type.Literal('auto'),
    Type.Array(Type.String({ pattern: '^[A-Za-z0-9_.:-]+$' }), { minItems: 1, uniqueItems: true })
  ], { default: 'auto', errorMessage: 'must be auto, or a list of scopes without repetition' }),
  dpop: Type.Boolean({ default: false, description: 'true: access tokens are bound to a key of the process, and each call carries a proof (RFC 9449); the app in Okta has to require it' })
})

const upstream = strict({
  org: Type.String({ format: 'org' }),
  ca: Type.Optional(publicFile),
  credential: exactlyOne({
    serviceApp: Type.Optional(serviceApp),
    apiToken: Type.Optional(apiToken)
  }, 'must be exactly one of serviceApp and apiToken'),
  authnToken: Type.Optional(apiToken),
  proxy: Type.Optional(strict({
    url: Type.String({ format: 'egress-proxy' }),
    authorization: Type.Optional(reference)
  }, { description: 'an HTTP proxy that connections to Okta go through (CONNECT)' })),
  ownCalls: Type.Optional(Type.Boolean({ description: 'whether the gate asks this org who it is, for self-protection, and keeps its API tokens in use; by default it does, but not with an API token over http://, which only a stand-in on this machine has' })),
  timeouts: withDefault({ connectMs: milliseconds(5_000), headersMs: milliseconds(60_000), idleMs: milliseconds(60_000) })
})

const issuer = strict({
  issuer: Type.String({ format: 'issuer' }),
  jwks: Type.Optional(exactlyOne({
    url: Type.Optional(Type.String({ format: 'issuer' })),
    file: Type.Optional(Type.String({ format: 'secret-path' }))
  }, 'must be { url: … } or { file: path }; absent: found by discovery')),
  algorithms: Type.Array(Type.Union(['RS256', 'RS384', 'RS512', 'PS256', 'ES256', 'ES384', 'ES512'].map(name => Type.Literal(name)), { errorMessage: 'must be one of RS256, RS384, RS512, PS256, ES256, ES384, ES512' }), { minItems: 1, uniqueItems: true, default: ['RS256', 'ES256'] }),
  allowPrivateNetwork: Type.Boolean({ default: false, description: 'the issuer stands in a private network' }),
  ca: Type.Optional(publicFile)
})

const mount = (fallback: string) => Type.String({ format: 'store-path', default: fallback })

/** Where the services that keep secrets are, and how the gate signs in there. */
const secretStores = withDefault({
  refreshSeconds: Type.Integer({ minimum: 5, maximum: 86_400, default: 60, errorMessage: 'must be seconds, 5 to 86400' }),
  vault: Type.Optional(strict({
    address: Type.String({ format: 'store-origin' }),
    namespace: Type.Optional(storePath),
    ca: Type.Optional(publicFile),
    auth: exactlyOne({
      token: Type.Optional(localReference),
      appRole: Type.Optional(strict({ mount: mount('approle'), roleId: text('must be the id of the role'), secretId: localReference })),
      kubernetes: Type.Optional(strict({ mount: mount('kubernetes'), role: text('must be the name of the role'), token: Type.Optional(localReference) }))
    }, 'must be exactly one of token, appRole and kubernetes')
  })),
  awsSecretsManager: withDefault({
    region: Type.Optional(Type.String({ pattern: '^[a-z0-9-]{1,60}$', errorMessage: 'must be a region, e.g. eu-central-1' })),
    endpoint: Type.Optional(Type.String({ format: 'store-origin' }))
  }),
  googleSecretManager: withDefault({ endpoint: Type.Optional(Type.String({ format: 'store-origin' })) }),
  azureKeyVault: withDefault({ ca: Type.Optional(publicFile) })
})

const nodes = Type.Array(Type.String({ pattern: '^(?:\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?$', errorMessage: 'must be host:port' }), { minItems: 1, maxItems: 50 })

/** Where several gates keep their limits together. Part of a union, in which ajv fills in no defaults: config/load.ts does. */
const redis = strict({
  url: reference,
  ca: Type.Optional(publicFile),
  sentinel: Type.Optional(strict({ name: text('must be the name of the master'), nodes })),
  cluster: Type.Optional(nodes),
  commandTimeoutMs: Type.Optional(Type.Integer({ minimum: 5, maximum: 5000, errorMessage: 'must be milliseconds, 5 to 5000' })),
  replicas: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, errorMessage: 'must be the number of gates, 1 or more' })),
  prefix: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9:._-]{0,64}$', errorMessage: 'must have letters, digits and : . _ -' }))
})

const oneOf = (names: readonly string[], fallback?: string) => Type.Union(names.map(name => Type.Literal(name)), { errorMessage: `must be one of ${names.join(', ')}`, default: fallback })
const some = (items: TSchema) => Type.Optional(Type.Array(items, { minItems: 1, uniqueItems: true }))

/** What every sink may say: how its lines look, which events it takes, and whether a write waits for it. */
const everySink = {
  format: oneOf(['ocsf', 'ecs', 'plain'], 'ocsf'),
  filter: Type.Optional(strict({
    outcomes: some(oneOf(['allowed', 'refused', 'limited', 'failed', 'aborted', 'unknown'])),
    clients: some(text('must be a client id')),
    operations: some(text('must be an operationId')),
    methods: some(text('must be an HTTP method')),
    minSeverity: Type.Optional(oneOf(['informational', 'low', 'medium', 'high']))
  }, { description: 'every list that is given has to hold the event\'s value' }))
}
const delivery = (fallback: string) => oneOf(['required', 'buffered'], fallback)
const remote = {
  ...everySink,
  delivery: delivery('buffered'),
  maxSpoolBytes: Type.Integer({ minimum: 65_536, maximum: 1_000_000_000_000, default: 268_435_456, errorMessage: 'must be bytes, 65536 or more' }),
  ca: Type.Optional(publicFile)
}
const collector = Type.String({ format: 'collector' })

const sinks = {
  stdout: Type.Optional(strict({ ...everySink })),
  file: Type.Optional(strict({
    path: Type.String({ format: 'file-path' }),
    ...everySink,
    delivery: delivery('buffered'),
    chain: Type.Boolean({ default: true, description: 'a hash chain, with checkpoints that audit.key signs' }),
    rotate: withDefault({
      maxBytes: Type.Integer({ minimum: 65_536, default: 104_857_600, errorMessage: 'must be bytes, 65536 or more' }),
      maxHours: Type.Integer({ minimum: 1, maximum: 8_760, default: 24, errorMessage: 'must be hours, 1 to 8760' }),
      keep: Type.Optional(Type.Integer({ minimum: 1, maximum: 100_000, errorMessage: 'must be a number of files, 1 or more' }))
    })
  })),
  syslog: Type.Optional(strict({ host: host({}), port: Type.Integer({ minimum: 1, maximum: 65535, default: 6514, errorMessage: 'a port is a number from 1 to 65535' }), ...remote, cert: Type.Optional(publicFile), key: Type.Optional(reference) })),
  splunk: Type.Optional(strict({ url: collector, token: reference, index: Type.Optional(text('must be the name of an index')), ...remote })),
  https: Type.Optional(strict({ url: collector, hmacKey: reference, ...remote })),
  otlp: Type.Optional(strict({ url: collector, authorization: Type.Optional(reference), ...remote }))
}

export const configSchema = strict({
  listen: withDefault({
    host: host({ default: '127.0.0.1' }),
    port: port(8443),
    tls: Type.Optional(strict({ cert: publicFile, key: reference, clientCa: Type.Optional(publicFile), crl: Type.Optional(publicFile) })),
    insecureHttp: Type.Boolean({ default: false, description: 'plain HTTP on an address that other hosts reach: only behind a balancer that ends TLS' }),
    trustedProxies: Type.Array(Type.String({ format: 'cidr' }), { default: [] }),
    clientCertHeader: Type.Boolean({ default: false, description: 'believe the Client-Cert header (RFC 9440) of trustedProxies' }),
    bodyLimitBytes: Type.Integer({ minimum: 1024, maximum: 104_857_600, default: 1_048_576, errorMessage: 'must be bytes, 1024 to 104857600' }),
    bodyMemoryBytes: Type.Integer({ minimum: 1_048_576, maximum: 8_589_934_592, default: 67_108_864, errorMessage: 'must be bytes, 1048576 to 8589934592' }),
    maxConnections: connections(1000),
    maxConnectionsPerAddress: connections(500),
    maxRequests: Type.Integer({ minimum: 1, maximum: 100_000, default: 1000, errorMessage: 'must be a number of requests, 1 to 100000' }),
    shedAfterMs: milliseconds(250)
  }),
  publicUrl: Type.String({ format: 'public-origin' }),
  admin: withDefault({ host: host({ default: '127.0.0.1' }), port: port(9443) }),
  tokens: withDefault({
    keys: Type.Array(reference, { maxItems: 10, default: [], errorMessage: 'must list private keys; the first signs' }),
    lifetimeSeconds: Type.Integer({ minimum: 301, maximum: 3600, default: 600, errorMessage: 'must be seconds, 301 to 3600: SDKs renew a token five minutes early' }),
    clockSkewSeconds: Type.Integer({ minimum: 0, maximum: 300, default: 60, errorMessage: 'must be seconds, 0 to 300' }),
    onStoreLoss: Type.Union([Type.Literal('refuse'), Type.Literal('alone')], { default: 'refuse', errorMessage: 'must be refuse or alone' })
  }),
  issuers: Type.Array(issuer, { default: [], maxItems: 50 }),
  policies: Type.String({ format: 'file-path', default: './policies' }),
  upstreams: Type.Record(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$' }), upstream, { minProperties: 1, additionalProperties: false, errorMessage: 'must name at least one upstream; names have letters, digits, _ and -' }),
  limits: withDefault({
    ceiling: percent('50%'),
    store: Type.Union([Type.Literal('memory'), strict({ redis })], { default: 'memory', errorMessage: 'must be memory, or { redis: { url: … } }' }),
    onStoreLoss: Type.Union([Type.Literal('share'), Type.Literal('refuse')], { default: 'share', errorMessage: 'must be share or refuse' }),
    org: Type.Record(Type.String(), Type.Integer({ minimum: 1, maximum: 1_000_000, errorMessage: 'must be calls per minute, 1 or more' }), { propertyNames: { format: 'bucket-key' }, default: {} }),
    credentialShare: percent('50%'),
    concurrency: Type.Integer({ minimum: 1, maximum: 10_000, default: 75, errorMessage: 'must be the number of calls that the org takes at once, 1 or more' }),
    clientConcurrency: percent('75%')
  }),
  audit: withDefault({
    key: Type.Optional(reference),
    redact: Type.Array(Type.Union([Type.Literal('login'), Type.Literal('token')], { errorMessage: 'must be login or token' }), { uniqueItems: true, default: [] }),
    redactKey: Type.Optional(reference),
    spool: Type.String({ format: 'file-path', default: './spool' }),
    sinks: Type.Array(exactlyOne(sinks, `must be exactly one of ${Object.keys(sinks).join(', ')}`), { minItems: 1, maxItems: 20, default: [{ stdout: {} }], errorMessage: 'must list at least one sink' })
  }),
  telemetry: Type.Optional(strict({
    otlp: strict({ url: collector, authorization: Type.Optional(reference), ca: Type.Optional(publicFile) }),
    sampling: percent('100%'),
    trustedNetworks: Type.Array(Type.String({ format: 'cidr' }), { default: [], description: 'whose traceparent header is believed' }),
    metricsSeconds: Type.Integer({ minimum: 0, maximum: 3600, default: 60, errorMessage: 'must be seconds, 0 (none are sent) to 3600' })
  }, { description: 'traces and metrics over OTLP' })),
  secretStores,
  production: Type.Boolean({ default: false }),
  workers: Type.Integer({ minimum: 1, maximum: 256, default: 1, errorMessage: 'must be a number of processes, 1 to 256' })
}, { $id: 'https://narrowgate.invalid/narrowgate.schema.json', title: 'narrowgate.yaml' })

/** The file's value after validation, defaults filled in. */
export type WrittenConfig = Static<typeof configSchema>
export type WrittenReference = Static<typeof reference>
export type WrittenLocal = Static<typeof localReference>
export type WrittenUpstream = Static<typeof upstream>
export type WrittenToken = Static<typeof apiToken>
export type WrittenSink = WrittenConfig['audit']['sinks'][number]

/** The JSON Schema that is published beside the config file, for editors: what has a default may be left out. */
export function configJsonSchema (): object {
  return { $schema: 'https://json-schema.org/draft/2020-12/schema', ...optionalDefaults(JSON.parse(JSON.stringify(configSchema))) }
}

interface JsonObject { [key: string]: unknown }

function optionalDefaults (schema: JsonObject): JsonObject {
  const result: JsonObject = {}
  for (const [key, value] of Object.entries(schema)) {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) result[key] = optionalDefaults(value as JsonObject)
    else if (Array.isArray(value) && key !== 'required') result[key] = value.map(item => typeof item === 'object' && item !== null ? optionalDefaults(item) : item)
    else result[key] = value
  }
  const { properties, required } = schema
  if (Array.isArray(required) && typeof properties === 'object') {
    result['required'] = required.filter(name => !Object.hasOwn((properties as Record<string, JsonObject>)[name] ?? {}, 'default'))
  }
  return result
}
