import type { Client } from './client.js'

/**
 * Every refusal that the gate can make. `status` and `errorCode` speak Okta's language
 * (developer.okta.com/docs/reference/error-codes), so that its SDKs understand them.
 * docs/interfaces.md lists the same codes; a test compares the two.
 */
export const rejections = {
  bad_request: { status: 400, errorCode: 'E0000001', message: 'The request is malformed.' },
  bad_target: { status: 400, errorCode: 'E0000001', message: 'The request target is ambiguous or malformed.' },
  trailing_slash: { status: 400, errorCode: 'E0000001', message: 'The path ends in a slash. Send it without the trailing slash.' },
  double_slash: { status: 400, errorCode: 'E0000001', message: 'The path contains a double slash (//). Remove the trailing slash from the base URL of your client.' },
  bad_header: { status: 400, errorCode: 'E0000001', message: 'A request header is not acceptable.' },
  bad_framing: { status: 400, errorCode: 'E0000001', message: 'The framing of the request body is not acceptable.' },
  bad_body: { status: 400, errorCode: 'E0000003', message: 'The request body was not well-formed.' },
  unsupported_body: { status: 415, errorCode: 'E0000021', message: 'A rule judges the body of this call: send it as uncompressed JSON in UTF-8.' },
  body_too_large: { status: 413, errorCode: 'E0000001', message: 'The request body is larger than this gate accepts.' },
  request_timeout: { status: 408, errorCode: 'E0000001', message: 'The request did not arrive in time.' },
  no_credential: { status: 401, errorCode: 'E0000011', message: 'No Narrowgate client key was presented. Send it as "Authorization: SSWS <key>" or "Authorization: Bearer <key>".' },
  bad_credential: { status: 401, errorCode: 'E0000011', message: 'The Narrowgate client credential is not valid.' },
  network: { status: 403, errorCode: 'E0000006', message: 'This client may not call from this network address.' },
  policy_expired: { status: 401, errorCode: 'E0000011', message: 'The policy of this client has expired.' },
  unknown_path: { status: 403, errorCode: 'E0000006', message: 'No Okta operation is known under this path.' },
  no_rule: { status: 403, errorCode: 'E0000006', message: 'The policy of this client has no rule that allows this operation.' },
  where: { status: 403, errorCode: 'E0000006', message: 'A path parameter is not one that the policy of this client allows.' },
  query: { status: 403, errorCode: 'E0000006', message: 'The query is not one that the policy of this client allows.' },
  body: { status: 403, errorCode: 'E0000006', message: 'The body is not one that the policy of this client allows.' },
  deny: { status: 403, errorCode: 'E0000006', message: 'The policy of this client denies this operation.' },
  self_protection: { status: 403, errorCode: 'E0000006', message: 'This call would touch the credential of the gate itself.' },
  method_not_allowed: { status: 405, errorCode: 'E0000022', message: 'The endpoint does not support the provided HTTP method.' },
  rate_limit: { status: 429, errorCode: 'E0000047', message: 'The gate keeps to a part of Okta\'s rate limit for this upstream; that allowance is used up.' },
  client_share: { status: 429, errorCode: 'E0000047', message: 'This client has used its share of the rate limit.' },
  rule_limit: { status: 429, errorCode: 'E0000047', message: 'The rule that allows this call has used its own rate limit.' },
  user_limit: { status: 429, errorCode: 'E0000047', message: 'Too many sign-ins of this user within a second.' },
  limits_unavailable: { status: 503, errorCode: 'E0000009', message: 'The gate cannot tell at the moment how much of the rate limit is left.' },
  concurrency: { status: 429, errorCode: 'E0000047', message: 'Too many calls are in flight at once.' },
  bucket_closed: { status: 429, errorCode: 'E0000047', message: 'Okta answered 429; the gate holds this bucket closed until it resets.' },
  too_many_failures: { status: 429, errorCode: 'E0000047', message: 'Too many failed authentications: wait before the next attempt.' },
  upstream_credential: { status: 502, errorCode: 'E0000009', message: 'Okta refused the credential of the gate. Tell the operators of the gate.' },
  upstream_failed: { status: 502, errorCode: 'E0000009', message: 'Okta could not be reached or answered with something that is not HTTP.' },
  upstream_uncertain: { status: 502, errorCode: 'E0000009', message: 'The call was sent to Okta and no answer came: it may have been executed. Check before you repeat it.' },
  upstream_unreachable: { status: 502, errorCode: 'E0000009', message: 'Okta could not be reached; the call was not sent.' },
  upstream_timeout: { status: 504, errorCode: 'E0000009', message: 'Okta did not answer in time.' },
  credential_unavailable: { status: 503, errorCode: 'E0000009', message: 'The gate has no usable credential for this call at the moment.' },
  exception_expired: { status: 503, errorCode: 'E0000009', message: 'The approved exception for the API token that this call needs has expired.' },
  replay_unknown: { status: 503, errorCode: 'E0000009', message: 'The gate cannot tell at the moment whether this proof or assertion has been used before.' },
  overloaded: { status: 503, errorCode: 'E0000009', message: 'The gate is overloaded.' },
  draining: { status: 503, errorCode: 'E0000009', message: 'The gate is shutting down.' },
  audit_unavailable: { status: 503, errorCode: 'E0000009', message: 'The call could not be recorded, so it was not made.' },
  internal: { status: 500, errorCode: 'E0000009', message: 'The gate failed while handling this request.' }
} as const satisfies Record<string, { status: number, errorCode: string, message: string }>

export type RejectionCode = keyof typeof rejections

/** A refusal, as a value. A stage returns `T | Rejection`. */
export interface Rejection {
  readonly kind: 'rejection'
  readonly code: RejectionCode
  /** more for the client, shown as errorCauses: names of rules and conditions, never values of a policy or of another client */
  readonly causes: readonly string[]
  /** for the audit log only */
  readonly detail?: string
  /** 429, 503, 504: what the rate limit headers of the answer say */
  readonly wait?: Wait
  /** 405: the methods that the path has */
  readonly allow?: readonly string[]
  /** who was refused, where a key that has ended proves it: for the audit log only */
  readonly presenter?: Client
  /** 401: what WWW-Authenticate says, instead of asking for a key */
  readonly challenge?: string
}

/** What a refused client is told about when to come back. */
export interface Wait {
  /** epoch milliseconds when a retry makes sense */
  readonly untilMs: number
  /** the limit that refused, calls per minute */
  readonly limit: number
  readonly remaining: number
}

/** Makes a Rejection of the catalogue. */
export function reject (code: RejectionCode, more: Partial<Omit<Rejection, 'kind' | 'code'>> = {}): Rejection {
  return { kind: 'rejection', code, causes: more.causes ?? [], detail: more.detail, wait: more.wait, allow: more.allow, presenter: more.presenter, challenge: more.challenge }
}

/** Tells a refusal from a stage's result. */
export function isRejection (value: unknown): value is Rejection {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'rejection'
}

/** For the default branch of a switch over a closed union: compiles only when nothing is left. */
export function unreachable (value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`)
}
