import { Type, type Static, type TSchema } from '../domain/json-schema.js'

const CLOSED = { additionalProperties: false }
const text = (description: string) => Type.String({ minLength: 1, maxLength: 400, description })
const date = (description: string) => Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}$', description })

const PatternSchema = Type.Object({
  pattern: Type.String({ minLength: 1, maxLength: 512, description: 'A regular expression that the whole value has to match: it is always wrapped as ^(?:…)$.' })
}, CLOSED)

const ScalarSchema = Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()])

const WhereSchema = Type.Record(Type.String(), Type.Union([
  Type.Array(Type.String({ minLength: 1 }), { minItems: 1, description: 'The values that the path parameter may have.' }),
  PatternSchema
]), { description: 'Path parameters, by the names of the request line, or the catalogue\'s when the rule names an operation.' })

const QueryTestSchema = Type.Union([
  Type.Literal('any'),
  Type.Array(Type.String(), { minItems: 1, description: 'The values that the parameter may have.' }),
  PatternSchema
])

const QuerySchema = Type.Union([
  Type.Literal('any', { description: 'Any query whatever.' }),
  Type.Object({
    require: Type.Optional(Type.Record(Type.String(), QueryTestSchema, { description: 'Parameters that have to be present.' })),
    allow: Type.Optional(Type.Record(Type.String(), QueryTestSchema, { description: 'Parameters that may be present.' }))
  }, CLOSED)
])

const BodyTestSchema = Type.Union([
  Type.Literal('any'),
  Type.Array(ScalarSchema, { minItems: 1, description: 'The values that may stand at the path.' }),
  PatternSchema
])

const BodyRequireSchema = Type.Record(Type.String(), BodyTestSchema, { description: 'Paths that have to be present. [] stands for the items of an array.' })

const BodySchema = Type.Object({
  only: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { description: 'The leaf paths that may be present; fewer is fine. a.b, a[], a.* for a subtree.' })),
  require: Type.Optional(BodyRequireSchema),
  schema: Type.Optional(Type.Unsafe<Record<string, unknown>>({ type: 'object', description: 'A JSON Schema (2020-12) that the body has to satisfy. No remote references.' }))
}, CLOSED)

const subject = {
  operation: Type.Optional(text('Okta\'s operationId.')),
  request: Type.Optional(text('METHOD /path/{parameter}, with the exact query where one is required.')),
  as: Type.Optional(text('The name that logs and reports use.')),
  where: Type.Optional(WhereSchema)
}

const WaitSchema = Type.Object({
  upToMs: Type.Integer({ minimum: 1, maximum: 60_000, description: 'How long a call is held until there is allowance, instead of being refused.' })
}, CLOSED)

const ONE_OF = { oneOf: [{ required: ['operation'] }, { required: ['request'] }] }

/** An entry of `allow`. */
export const AllowSchema = Type.Object({
  ...subject,
  query: Type.Optional(QuerySchema),
  body: Type.Optional(BodySchema),
  credential: Type.Optional(Type.Union([Type.Literal('none'), Type.Literal('upstream'), Type.Literal('authnToken')], {
    description: 'The credential of the calls. Default: none under /api/v1/authn, upstream elsewhere.'
  })),
  rateLimit: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,5}/min$', description: 'The rule\'s own limit, e.g. 30/min.' })),
  wait: Type.Optional(WaitSchema),
  mode: Type.Optional(Type.Union([Type.Literal('enforce'), Type.Literal('observe')], {
    description: 'observe: a call that fails this rule\'s where, query or body goes through, and the event says what would have been refused.'
  }))
}, { ...CLOSED, ...ONE_OF })

/** An entry of `deny`: an operation id or request line, or both with conditions. */
export const DenySchema = Type.Union([
  text('Okta\'s operationId, or METHOD /path.'),
  Type.Object({
    ...subject,
    query: Type.Optional(Type.Object({
      require: Type.Record(Type.String(), QueryTestSchema, { minProperties: 1 })
    }, CLOSED)),
    body: Type.Optional(Type.Object({ require: BodyRequireSchema }, CLOSED))
  }, { ...CLOSED, ...ONE_OF })
])

/** An entry of `tests`. */
export const TestSchema = Type.Object({
  allow: Type.Optional(text('A request that the policy has to allow: METHOD /path?query.')),
  deny: Type.Optional(text('A request that the policy has to refuse: METHOD /path?query.')),
  body: Type.Optional(Type.Unsafe<unknown>({ description: 'The JSON body of the request.' })),
  because: Type.Optional(Type.Union([
    Type.Literal('no_rule'), Type.Literal('where'), Type.Literal('query'), Type.Literal('body'),
    Type.Literal('deny'), Type.Literal('network'), Type.Literal('expired')
  ], { description: 'Why it has to be refused.' })),
  rule: Type.Optional(text('The name (as) of the rule that has to answer.')),
  at: Type.Optional(Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z)?$', description: 'When: a date (0:00 UTC) or 2027-03-31T12:00Z. Without it expiry is ignored.' })),
  from: Type.Optional(text('The source address. Without it networks are ignored.'))
}, { ...CLOSED, oneOf: [{ required: ['allow'] }, { required: ['deny'] }] })

const rules = {
  extends: Type.Optional(Type.Array(text('A set, relative to the policies folder: sets/read-directory.yaml.'), { description: 'Sets whose allow and deny entries are added.' })),
  allow: Type.Optional(Type.Array(AllowSchema, { default: [], description: 'What the client may call. Rules are tried in order.' })),
  deny: Type.Optional(Type.Array(DenySchema, { default: [], description: 'What nobody who has this file may call, whatever allows it.' }))
}

const ApiKeySchema = Type.Object({
  sha256: Type.String({ writeOnly: true, pattern: '^[0-9a-f]{64}$', description: 'SHA-256 of the key, as `narrowgate keys new` prints it.' }),
  expires: Type.Optional(date('Last day on which the key is accepted (UTC).'))
}, CLOSED)

const PrivateKeyJwtSchema = Type.Object({
  jwks: Type.Object({
    file: Type.Optional(text('A JWK Set of public keys, relative to the policies folder: keys/helpdesk.jwks.json.')),
    keys: Type.Optional(Type.Array(Type.Unsafe<Record<string, unknown>>({ type: 'object', writeOnly: true }), { minItems: 1, description: 'Public keys as JWKs.' }))
  }, { ...CLOSED, minProperties: 1, maxProperties: 1 }),
  dpop: Type.Optional(Type.Union([Type.Literal('required'), Type.Literal('optional')], { description: 'Bind access tokens to a key (RFC 9449). Absent: DPoP proofs are ignored.' })),
  requireJti: Type.Optional(Type.Boolean({ default: false, description: 'Refuse client assertions without a jti.' }))
}, CLOSED)

const WorkloadSchema = Type.Object({
  issuer: Type.String({ minLength: 1, maxLength: 400, description: 'iss of the tokens; one of the issuers of narrowgate.yaml.' }),
  audience: text('aud of the tokens.'),
  claims: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean(), PatternSchema]), { minProperties: 1, description: 'Claims that all have to be present, with this very value, or a pattern.' })
}, CLOSED)

const MtlsSchema = Type.Object({
  uri: Type.Optional(Type.String({ pattern: '^[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,400}$', description: 'A URI among the subject alternative names of the certificate.' })),
  dns: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$', description: 'A DNS name among the subject alternative names of the certificate.' })),
  sha256: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256 of the certificate (DER), 64 hex digits in small letters.' }))
}, { ...CLOSED, minProperties: 1, maxProperties: 1 })

const AuthenticateSchema = Type.Object({
  apiKey: Type.Optional(ApiKeySchema),
  privateKeyJwt: Type.Optional(PrivateKeyJwtSchema),
  workload: Type.Optional(WorkloadSchema),
  mtls: Type.Optional(MtlsSchema)
}, { ...CLOSED, minProperties: 1, maxProperties: 1 })

/** A client's policy file. */
export const PolicySchema = Type.Object({
  version: Type.Literal(1),
  client: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$', description: 'Unique id of the client; in every audit event.' }),
  owner: Type.Optional(Type.String({ default: '', description: 'Who answers for the client.' })),
  description: Type.Optional(Type.String({ default: '' })),
  expires: Type.Optional(date('Last day on which the client is served (UTC).')),
  mode: Type.Optional(Type.Union([Type.Literal('enforce'), Type.Literal('observe')], { default: 'enforce', description: 'observe: what enforce would refuse goes through and is logged.' })),
  observeSince: Type.Optional(date('Day on which observing began: under `production: true` it is a warning that it lasts over 30 days.')),
  upstream: Type.Optional(Type.String({ minLength: 1, default: 'default', description: 'Which org and credential, by its name in narrowgate.yaml.' })),
  authenticate: Type.Array(AuthenticateSchema, { minItems: 1, description: 'Any one suffices.' }),
  networks: Type.Optional(Type.Array(Type.String(), { minItems: 1, description: 'Source addresses in CIDR notation; absent: any.' })),
  rateLimit: Type.Optional(Type.Object({
    share: Type.Optional(Type.String({ pattern: '^[0-9]{1,3}(\\.[0-9]{1,2})?%$', default: '100%', description: 'Share of the upstream\'s allowance in every bucket: the most that the client may use.' })),
    reserve: Type.Optional(Type.String({ pattern: '^[0-9]{1,3}(\\.[0-9]{1,2})?%$', description: 'The part of the allowance that no other client can take while this one asks; lent while it does not.' })),
    priority: Type.Optional(Type.Union([Type.Literal('high'), Type.Literal('normal'), Type.Literal('low')], { default: 'normal', description: 'Who goes first when a bucket runs dry.' }))
  }, CLOSED)),
  wait: Type.Optional(WaitSchema),
  ...rules,
  tests: Type.Optional(Type.Array(TestSchema, { default: [], description: 'Run by `check` and at every load.' }))
}, CLOSED)

/** A set: rules that policies share by `extends`. */
export const SetSchema = Type.Object({
  version: Type.Literal(1),
  description: Type.Optional(Type.String()),
  ...rules
}, CLOSED)

/** operations.yaml: operations that Okta's specification lacks. */
export const OperationsSchema = Type.Object({
  version: Type.Optional(Type.Literal(1)),
  operations: Type.Array(Type.Object({
    id: Type.String({ pattern: '^[A-Za-z][A-Za-z0-9_.-]{0,99}$', description: 'The id that rules use.' }),
    request: text('METHOD /path/{parameter}, without a query.'),
    bucket: Type.Optional(text('Rate limit bucket; absent: as its path says.')),
    query: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { description: 'Names of its query parameters.' }))
  }, CLOSED))
}, CLOSED)

export type WrittenAllow = Static<typeof AllowSchema>
export type WrittenDeny = Exclude<Static<typeof DenySchema>, string>
export type WrittenTest = Static<typeof TestSchema>
export type PolicyFile = Static<typeof PolicySchema>
export type SetFile = Static<typeof SetSchema>
export type OperationsFile = Static<typeof OperationsSchema>

/** Keys that later issues define: a problem of their own wording, never ignored. */
export const LATER_KEYS: ReadonlySet<string> = new Set([
  'forwardContext', 'redact'
])

/** The JSON Schema that editors use, as the text of the checked-in file. */
export function jsonSchemaText (kind: 'policy' | 'set' | 'operations'): string {
  const schemas: Record<typeof kind, TSchema> = { policy: PolicySchema, set: SetSchema, operations: OperationsSchema }
  const head = { $schema: 'https://json-schema.org/draft/2020-12/schema', title: `Narrowgate ${kind} file` }
  return JSON.stringify({ ...head, ...schemas[kind] }, null, 2) + '\n'
}
