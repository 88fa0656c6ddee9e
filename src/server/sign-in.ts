import { hash } from 'node:crypto'
import type { GateExchange } from './stages.js'

/** Operations that act on a user by name before anybody is signed in; Okta limits each name (rate-limits.json, perUser). */
const BY_NAME: ReadonlySet<string> = new Set(['/api/v1/authn', '/api/v1/authn/recovery/password', '/api/v1/authn/recovery/unlock'])

/**
 * What the limit per user name is keyed by: a hash of the name in the body of a sign-in. Undefined for every other call,
 * and where there is no name, as in later steps of a sign-in.
 */
export function signInName ({ operation, body, judgedBody }: GateExchange): string | undefined {
  if (!BY_NAME.has(operation!.template) || body === undefined || body.length === 0) return undefined
  const value = judgedBody?.kind === 'json' ? judgedBody.value : parsed(body)
  const name = typeof value === 'object' && value !== null && Object.hasOwn(value, 'username') ? (value as { username: unknown }).username : undefined
  // A JSON reader that wants a text takes a number for one.
  const text = typeof name === 'number' ? String(name) : name
  return typeof text === 'string' && text !== '' ? hash('sha256', text.trim().toLowerCase(), 'base64url').slice(0, 22) : undefined
}

/** No rule judges the body here, so it need not be JSON. A member's name is spelled in other ways only with a backslash. */
function parsed (body: Buffer): unknown {
  if (!body.includes('username') && !body.includes('\\')) return undefined
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}
