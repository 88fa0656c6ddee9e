/** What the emulated org answers: a status, extra header lines, and a body that is already bytes or text. */
export interface Answer {
  readonly status: number
  readonly body?: string
  /** an Okta error: the server writes it as body, with an id of its own */
  readonly error?: ErrorBody
  /** name, value, name, value …: one line each, in this order */
  readonly headers: readonly string[]
  /** false: none of the usual headers of the application (cookies, limits), as recorded on 405 */
  readonly early?: boolean
}

const NO_HEADERS: readonly string[] = []
const EMPTY: Answer = { status: 204, headers: NO_HEADERS }

/** Okta's error codes as recorded (facts.md) or documented (developer.okta.com/docs/reference/error-codes). */
const errors = {
  E0000001: { status: 400, summary: 'Api validation failed' },
  E0000003: { status: 400, summary: 'The request body was not well-formed.' },
  E0000004: { status: 401, summary: 'Authentication failed' },
  E0000006: { status: 403, summary: 'You do not have permission to perform the requested action' },
  E0000007: { status: 404, summary: 'Not found' },
  E0000009: { status: 500, summary: 'Internal Server Error' },
  E0000011: { status: 401, summary: 'Invalid token provided' },
  E0000014: { status: 403, summary: 'Update of credentials failed' },
  E0000016: { status: 403, summary: 'Activation failed because the user is already active' },
  E0000019: { status: 400, summary: 'Bad request. Accept and/or Content-Type headers likely do not match supported values.' },
  E0000021: { status: 400, summary: 'Bad request. Accept and/or Content-Type headers likely do not match supported values.' },
  E0000022: { status: 405, summary: 'The endpoint does not support the provided HTTP method' },
  E0000029: { status: 400, summary: 'Invalid paging request.' },
  E0000031: { status: 400, summary: 'Invalid search criteria.' },
  E0000032: { status: 403, summary: 'Unlock is not allowed for this user.' },
  E0000038: { status: 403, summary: "This operation is not allowed in the user's current status." },
  E0000047: { status: 429, summary: 'API call exceeded rate limit due to too many requests.' },
  E0000056: { status: 403, summary: 'Delete application forbidden.' },
  E0000068: { status: 403, summary: 'Invalid Passcode/Answer' },
  E0000079: { status: 403, summary: 'This operation is not allowed in the current authentication state.' },
  E0000087: { status: 403, summary: 'The recovery question answer did not match our records.' },
  E0000095: { status: 403, summary: 'Recovery not allowed for unknown user.' }
} as const

export type ErrorCode = keyof typeof errors

/** What an error body says, but for its id. */
export interface ErrorBody {
  readonly code: ErrorCode
  readonly summary: string
  readonly causes: readonly string[]
}

/** A JSON answer; `value` is serialised here, once. */
export function json (value: unknown, status = 200, headers: readonly string[] = NO_HEADERS): Answer {
  return { status, body: JSON.stringify(value), headers }
}

/** A JSON answer whose text exists already. */
export function text (body: string, status = 200, headers: readonly string[] = NO_HEADERS): Answer {
  return { status, body, headers }
}

/** 204 without a body. */
export function noContent (): Answer {
  return EMPTY
}

/** More about an error: what follows the summary, the causes, another status, header lines. */
export interface ErrorDetail {
  readonly summary?: string
  readonly causes?: readonly string[]
  readonly status?: number
  readonly headers?: readonly string[]
  readonly early?: boolean
}

/** An Okta error. */
export function failure (code: ErrorCode, detail: ErrorDetail = {}): Answer {
  const known = errors[code]
  return {
    status: detail.status ?? known.status,
    error: { code, summary: detail.summary ?? known.summary, causes: detail.causes ?? [] },
    headers: detail.headers ?? NO_HEADERS,
    early: detail.early
  }
}

/** Okta's error body: `errorCode, errorSummary, errorLink, errorId, errorCauses`. */
export function errorText (error: ErrorBody, errorId: string): string {
  return JSON.stringify({
    errorCode: error.code,
    errorSummary: error.summary,
    errorLink: error.code,
    errorId,
    errorCauses: error.causes.map(errorSummary => ({ errorSummary }))
  })
}

/** The token endpoint's own error form: `{error, error_description}` (RFC 6749 section 5.2). */
export function oauthFailure (status: number, error: string, description: string, headers: readonly string[] = NO_HEADERS): Answer {
  return json({ error, error_description: description }, status, headers)
}
