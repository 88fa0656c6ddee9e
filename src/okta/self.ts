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
    } else if (writes && before === 'groups' && self.groups?.has(word) === true && changesRights(segments[position + 1], resolution)) {
      return 'what this group may do, the gate\'s own user may do'
    } else if (self.names !== undefined) {
      const mayRead = self.names.get(`${before}/${word}`)
      if (mayRead === false || (mayRead === true && writes)) return 'the path names something of the gate\'s own'
    }
    before = word
  }
  return known && target.query !== undefined && target.query.length > 0 && (writes || narrows(resolution)) ? queryTouches(target.query, self, writes) : undefined
}

/** Lists that a query can narrow to one of the gate's own: what no path may name, no query may look up. */
const LISTS = new Set(['/api/v1/users', '/api/v1/apps'])

function narrows (resolution: Resolution): boolean {
  return resolution.kind === 'operation' && LISTS.has(resolution.operation.template)
}

/** No id of Okta's is shorter than 20 characters; a login may be. */
const SHORTEST_NAME = 4

function queryTouches (query: Target['query'], self: GateSelf, writes: boolean): string | undefined {
  for (const { value } of query) {
    if (value.length < SHORTEST_NAME) continue
    const text = value.toLowerCase()
    if ((self.clientId !== undefined && text.includes(self.clientId.toLowerCase())) || holdsOneOf(text, self.ids) || self.names?.get(`users/${text}`) === false || (writes && holdsOneOf(text, self.bounds))) return 'the query names something of the gate\'s own'
  }
  return undefined
}

/** A role of a group is one of its members', and goes with the group. */
function changesRights (next: string | undefined, resolution: Resolution): boolean {
  return next === 'roles' || (next === undefined && resolution.kind === 'operation' && resolution.operation.method === 'DELETE')
}

function isDeclaredMe (resolution: Resolution, segment: string): boolean {
  if (resolution.kind !== 'operation') return false
  const { source, method, template } = resolution.operation
  return segment === 'me' && source === 'declared' && method === 'GET' && template === '/api/v1/users/me'
}

/** Operations whose bodies say whom they are about: who may do what, who is limited to what, who signs in. */
const ABOUT_PRINCIPALS = /^\/(?:api\/v1\/(?:principal-rate-limits|iam|authn|groups\/(?:rules|[^/]+\/owners)|apps\/[^/]+\/users|identity-sources)|privileged-access|webauthn-registration)(?:\/|$)/
/** Operations whose bodies give a role to users, groups and apps. */
const GIVES_ROLES = /^\/api\/v1\/iam\/resource-sets\/[^/]+\/bindings(?:\/|$)/
/** What is read alike, byte by byte, where it is ASCII. */
const PLAIN_CHARSETS = new Set(['utf-8', 'utf8', 'us-ascii', 'iso-8859-1'])

/** What bodyTouchesGate finds logins with: Okta may trim what it is given. */
export function signInPattern (logins: readonly string[]): RegExp | undefined {
  if (logins.length === 0) return undefined
  return new RegExp(`"\\s*(?:${logins.map(login => login.replace(/[^A-Za-z0-9]/g, '\\$&')).join('|')})\\s*"`)
}

/**
 * Says why the body of a call would touch the gate itself: it names one of its ids anywhere (a principal rate limit,
 * a member of a role's binding, a condition of a group rule), gives a role to a group of the gate's own user, or begins
 * a sign-in or recovery of that user. Works on the bytes, not on parsed JSON: a repeated key can't hide a name, and
 * neither can an escape, or an encoding that a JSON parser finds out by itself (UTF-16, UTF-32: RFC 4627 section 3).
 *
 * @param body whole, as received
 * @param headers its Content-Encoding and Content-Type
 */
export function bodyTouchesGate (operation: Pick<Operation, 'template' | 'method'>, body: Buffer, headers: BodyHeaders, self: GateSelf): string | undefined {
  if (body.length === 0 || (self.clientId === undefined && self.ids === undefined)) return undefined
  const { template } = operation
  const aboutPrincipals = ABOUT_PRINCIPALS.test(template)
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding !== '' && encoding.toLowerCase() !== 'identity') {
    return aboutPrincipals ? 'the body is compressed, so it cannot be told whether it names something of the gate\'s own' : undefined
  }
  if (aboutPrincipals && !isPlain(headers['content-type'])) return 'the body is not in UTF-8, so it cannot be told whether it names something of the gate\'s own'
  const text = readable(body, aboutPrincipals)
  if (self.clientId !== undefined && text.includes(self.clientId.toLowerCase())) return 'the body names the gate\'s own service app'
  if (holdsOneOf(text, self.ids)) return 'the body names something of the gate\'s own'
  if (GIVES_ROLES.test(template)) {
    if (holdsOneOf(text, self.groups)) return 'a role of this group would be a role of the gate\'s own user'
    for (const [name, mayRead] of self.names ?? []) if (!mayRead && holdsWord(text, name)) return 'the body names something of the gate\'s own'
    if (holdsWord(text, 'users/me')) return '"me" in the body stands for the owner of the gate\'s own credential'
  }
  return template.startsWith('/api/v1/authn') && self.signIn?.test(text) === true ? 'the body signs in as the gate\'s own user' : undefined
}

/** The headers that say how a body is to be read. */
export interface BodyHeaders { readonly 'content-encoding'?: string, readonly 'content-type'?: string }

function isPlain (contentType: string | undefined): boolean {
  return [...(contentType ?? '').matchAll(/charset\s*=\s*["']?([^"';,\s]*)/gi)].every(([, charset]) => PLAIN_CHARSETS.has(charset!.toLowerCase()))
}

/** In lower case, without what separates ASCII letters in UTF-16 and UTF-32, and without escapes. @param url whether URLs in it count, whose own escapes hide letters, too */
function readable (body: Buffer, url: boolean): string {
  const bytes = body.toString('latin1')
  const text = unescaped(body.includes(0) ? bytes.replaceAll('\0', '') : bytes)
  return (url && text.includes('%') ? text.replace(/%([0-7][0-9a-fA-F])/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))) : text).toLowerCase()
}

/** JSON's escapes: `\u0030` is `0`, and `\/` a slash. */
function unescaped (text: string): string {
  return text.includes('\\') ? text.replace(/\\u([0-9a-fA-F]{4})|\\\//g, (_, hex: string | undefined) => hex === undefined ? '/' : String.fromCharCode(parseInt(hex, 16))) : text
}

function holdsOneOf (text: string, words: ReadonlySet<string> | undefined): boolean {
  for (const word of words ?? []) if (holdsWord(text, word)) return true
  return false
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
