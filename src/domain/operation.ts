/** HTTP methods that Okta's catalogue uses. */
export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** A segment of a path template: a literal, or a named parameter. */
export interface TemplateSegment {
  readonly kind: 'literal' | 'parameter'
  /** the literal's text, or the parameter's name without braces */
  readonly name: string
}

/** An Okta API operation with an id. Immutable; one object per catalogue entry. */
export interface Operation {
  /** position in the catalogue: 0 … count-1; lets a client's operations be a table look-up */
  readonly index: number
  /** Okta's operationId, or ours where Okta documents none (/authn) */
  readonly id: string
  readonly method: Method
  /** e.g. `/api/v1/users/{id}` */
  readonly template: string
  readonly segments: readonly TemplateSegment[]
  /** names of the parameters, in the order of the path */
  readonly parameters: readonly string[]
  /** other spellings that are matched as written and forwarded as written (only `/api/v1/authn/`) */
  readonly aliases: readonly string[]
  /** query parameters that Okta documents */
  readonly query: readonly string[]
  /** OAuth scopes, any of which suffices unless `allScopesRequired` */
  readonly scopes: readonly string[]
  readonly allScopesRequired: boolean
  /** an API token is accepted */
  readonly apiToken: boolean
  /** an OAuth access token is accepted */
  readonly oauth: boolean
  /** works without any credential */
  readonly anonymous: boolean
  /** key of the rate limit bucket, e.g. `GET /api/v1/users/{id}` or `/api/v1/users` (see okta/buckets.ts) */
  readonly bucket: string
  /** where the entry comes from */
  readonly source: 'okta' | 'authn' | 'oauth' | 'declared'
  /** body media types that Okta documents; empty: none */
  readonly requestTypes: readonly string[]
  /** true: the gate answers it itself or keeps it for itself; no policy may admit it */
  readonly reserved: boolean
}
