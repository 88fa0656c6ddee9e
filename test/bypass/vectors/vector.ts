/** Bytes that a client sends, and what may become of them. `{key}` stands for the client's key. */
export interface Vector {
  readonly name: string
  /** latin1: one character a byte */
  readonly bytes: string
  /** request lines that may arrive upstream, in any order; absent: nothing */
  readonly arrives?: readonly string[]
  /** the body that has to arrive with the first of them */
  readonly body?: string
  /** statuses of the answers, in order; absent: one refusal, 4xx; empty: whatever they are, if any */
  readonly answers?: readonly number[]
  /** what upstream answers, as bytes; absent: 200 with a small JSON */
  readonly upstream?: string
  /** no answer may look whole */
  readonly cut?: true
  /** must not be in what the client receives, whatever the letter case */
  readonly hides?: readonly string[]
}

/** The policy that all vectors are sent under: four calls, of which two have conditions. */
export const ALLOW = `allow:
  - { operation: listUsers, query: { allow: { limit: any, q: any } } }
  - { operation: getUser }
  - { operation: listUserGroups }
  - { operation: updateUser, body: { only: [profile.mobilePhone] } }
`

export const AUTH = 'Authorization: SSWS {key}'
export const USER = '/api/v1/users/00u1'

/** A request as bytes: Host, the key, further header lines, and a body with its length. */
export function http (line: string, headers: readonly string[] = [], body?: string): string {
  const lines = [`${line} HTTP/1.1`, 'Host: gate', AUTH, ...headers]
  if (body !== undefined) lines.push(`Content-Length: ${Buffer.byteLength(body, 'latin1')}`)
  return `${lines.join('\r\n')}\r\n\r\n${body ?? ''}`
}

/** Refused under every reading: the target alone. */
export const target = (raw: string): Vector => ({ name: `GET ${raw}`, bytes: http(`GET ${raw}`) })
