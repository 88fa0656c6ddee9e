import { createHmac, type KeyObject } from 'node:crypto'
import type { AuditEvent } from '../domain/event.js'

/** What an operator may have hashed. */
export const REDACTABLE = ['login', 'token'] as const
export type Redactable = (typeof REDACTABLE)[number]

/** A client's key, or what a cut has left of one. */
const KEY = /ngk_[0-9A-Za-z]+/g
const KEY_START = 'ngk_'
const HIDDEN_KEY = 'ngk_(hidden)'

const holdsKey = (value: string): boolean => value.includes(KEY_START)

/**
 * Hides keys of clients in an event: some developer will put one into a path or a query name by mistake, and a log that
 * holds a working key is one more place to steal it from.
 *
 * @returns the same event when it holds none
 */
export function withoutKeys (event: AuditEvent): AuditEvent {
  const { path, detail, queryNames, bodyPaths } = event
  if (path?.includes(KEY_START) !== true && detail?.includes(KEY_START) !== true && queryNames?.some(holdsKey) !== true && bodyPaths?.some(holdsKey) !== true) return event
  return JSON.parse(JSON.stringify(event).replaceAll(KEY, HIDDEN_KEY)) as AuditEvent
}

/** Okta's own ids: two digits, a type, and so on; 20 characters. `me` is a word of Okta's API. */
const OKTA_ID = /^(?:00[a-z0-9][0-9A-Za-z]{17}|me)$/
const SEES_AT = /@|%40/i
const USER_SEGMENTS = new Set(['users', 'members', 'owners'])
const TOKEN_SEGMENTS = new Set(['token', 'tokens', 'api-tokens', 'refresh_tokens', 'recovery', 'activate', 'verify'])
const HEX_DIGITS = 16

/**
 * Replaces logins, or tokens, in an event's path and resources by `hmac:` and 64 bits of a keyed hash: the same value
 * gives the same text, and only who has the key can find out which.
 *
 * @param key of HMAC-SHA-256; without it a list of logins would be tried in seconds
 */
export function createRedactor (kinds: ReadonlySet<Redactable>, key: KeyObject): (event: AuditEvent) => AuditEvent {
  const hide = (value: string): string => `hmac:${createHmac('sha256', key).update(value).digest('hex').slice(0, HEX_DIGITS)}`
  const isHidden = (before: string | undefined, segment: string): boolean =>
    (kinds.has('login') && (SEES_AT.test(segment) || (before !== undefined && USER_SEGMENTS.has(before) && !OKTA_ID.test(segment)))) ||
    (kinds.has('token') && before !== undefined && TOKEN_SEGMENTS.has(before) && segment !== 'current')
  return event => {
    const { path, resources } = event
    if (path === undefined) return event
    const segments = path.split('/')
    const hidden = new Map<string, string>()
    const shown = segments.map((segment, i) => {
      if (segment === '' || !isHidden(segments[i - 1], segment)) return segment
      const value = decoded(segment)
      const text = hide(value)
      hidden.set(value, text)
      return text
    })
    if (hidden.size === 0) return event
    return { ...event, path: shown.join('/'), resources: resources?.map(({ kind, id }) => ({ kind, id: hidden.get(id) ?? id })) }
  }
}

function decoded (segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}
