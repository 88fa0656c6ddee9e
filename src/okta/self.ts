import type { Operation } from '../domain/operation.js'
import type { Target } from '../domain/target.js'
import type { Resolution } from './catalog.js'

/** What the gate must not be made to touch. Everything is compared without regard to letter case, and kept in lower case. */
export interface GateSelf {
  /** client id of the gate's own service app */
  readonly clientId?: string
  /** ids and logins of the gate's own app, user and API tokens: no call may name them */
  readonly ids?: ReadonlySet<string>
  /** ids of what bounds the gate's rights (its zones, roles, resource sets, principal rate limits): calls may read them */
  readonly bounds?: ReadonlySet<string>
  /** what stands for one of those where it follows another segment: `users/svc-gate`, `resource-sets/my label`; true: calls may read it */
  readonly names?: ReadonlyMap<string, boolean>
  /** groups of the gate's own users: a role given to one of them is a role given to the gate */
  readonly groups?: ReadonlySet<string>
  /** finds a JSON string that is a login of the gate's own users */
  readonly signIn?: RegExp
}

type Judged = Pick<Target, 'segments'> & Partial<Pick<Target, 'query'>>

/**
 * Says why a call would touch the gate itself, whatever the policies say: `me` and `current` are the owner of the
 * gate's credential (`DELETE /api/v1/api-tokens/current` revokes it), and its own ids stand for itself.
 * `GET /api/v1/users/me` passes where operations.yaml declares it.
 *
 * @returns a reason for the audit log; undefined when the call is no concern of the gate's own
 */
export function touchesGate (target: Judged, resolution: Resolution, self: GateSelf): string | undefined {
  const clientId = self.clientId?.toLowerCase()
  const known = clientId !== undefined || self.ids !== undefined
  const writes = resolution.kind === 'operation' && resolution.operation.method !== 'GET'
  let before = ''
  const { segments } = target
  for (let position = 0; position < segments.length; position++) {
    const segment = segments[position]!
    const length = segment.length
    if (length !== 2 && length !== 7 && !known) continue
    const word = segment.toLowerCase()
    if (word === 'me' || word === 'current') {
      if (!isDeclaredMe(resolution, segment)) return `"${word}" in the path stands for the owner of the gate's own credential`
    } else if (word === clientId) {
      return 'the path names the gate\'s own service app'
    } else if (self.ids?.has(word) === true) {
      return 'the path names something of the gate\'s own'
    } else if (writes && self.bounds?.has(word) === true) {
      return 'the path names what bounds the gate\'s own rights'
    } else if (writes && before === 'groups' && self.groups?.has(word) === true && segments[position + 1] === 'roles') {
      return 'a role of this group would be a role of the gate\'s own user'
    } else if (self.names !== undefined) {
      const mayRead = self.names.get(`${before}/${word}`)
      if (mayRead === false || (mayRead === true && writes)) return 'the path names something of the gate\'s own'
    }
    before = word
  }
  return writes && known && target.query !== undefined && target.query.length > 0 ? queryTouches(target.query, self) : undefined
}

function queryTouches (query: Target['query'], self: GateSelf): string | undefined {
  const clientId = self.clientId?.toLowerCase()
  for (const { value } of query) {
    const word = value.toLowerCase()
    if (word === clientId || self.ids?.has(word) === true || self.bounds?.has(word) === true) return 'the query names something of the gate\'s own'
  }
  return undefined
}

function isDeclaredMe (resolution: Resolution, segment: string): boolean {
  if (resolution.kind !== 'operation') return false
  const { source, method, template } = resolution.operation
  return segment === 'me' && source === 'declared' && method === 'GET' && template === '/api/v1/users/me'
}

/** Operations whose bodies say whom they are about: who may do what, who is limited to what, who signs in. */
const ABOUT_PRINCIPALS = /^\/api\/v1\/(?:principal-rate-limits|iam|authn|groups\/rules)(?:\/|$)/

/** What bodyTouchesGate finds logins with: Okta may trim what it is given. */
export function signInPattern (logins: readonly string[]): RegExp | undefined {
  if (logins.length === 0) return undefined
  return new RegExp(`"\\s*(?:${logins.map(login => login.replace(/[^A-Za-z0-9]/g, '\\$&')).join('|')})\\s*"`)
}

/**
 * Says why the body of a call would touch the gate itself: it names one of its ids anywhere (a principal rate limit,
 * a member of a role's binding, a condition of a group rule), or begins a sign-in or recovery of the gate's own user.
 * Works on the bytes, not on parsed JSON: a repeated key can't hide a name, and escapes are undone first.
 *
 * @param body whole, as received
 * @param encoding its Content-Encoding
 */
export function bodyTouchesGate (operation: Pick<Operation, 'template' | 'method'>, body: Buffer, encoding: string | undefined, self: GateSelf): string | undefined {
  if (body.length === 0 || (self.clientId === undefined && self.ids === undefined)) return undefined
  if (encoding !== undefined && encoding !== '' && encoding.toLowerCase() !== 'identity') {
    return ABOUT_PRINCIPALS.test(operation.template) ? 'the body is compressed, so it cannot be told whether it names something of the gate\'s own' : undefined
  }
  const text = unescaped(body.toString('latin1')).toLowerCase()
  if (self.clientId !== undefined && text.includes(self.clientId.toLowerCase())) return 'the body names the gate\'s own service app'
  for (const id of self.ids ?? []) if (holdsWord(text, id)) return 'the body names something of the gate\'s own'
  return operation.template.startsWith('/api/v1/authn') && self.signIn?.test(text) === true ? 'the body signs in as the gate\'s own user' : undefined
}

/** JSON's escapes: `\u0030` is `0`, and `\/` a slash. */
function unescaped (text: string): string {
  return text.includes('\\') ? text.replace(/\\u([0-9a-fA-F]{4})|\\\//g, (_, hex: string | undefined) => hex === undefined ? '/' : String.fromCharCode(parseInt(hex, 16))) : text
}

const WORD = /[\w.+@-]/

/** Not as a part of a longer id or address: `ann@example.com` is not in `joann@example.com`. */
function holdsWord (text: string, word: string): boolean {
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    const [before, behind] = [text[at - 1], text[at + word.length]]
    if ((before === undefined || !WORD.test(before)) && (behind === undefined || !WORD.test(behind))) return true
  }
  return false
}
