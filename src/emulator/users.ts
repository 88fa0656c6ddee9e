import { failure, noContent, text, type Answer } from './answers.js'
import { bodyOf, invalid, log, notFound, objectOf, parameterOf, queryOf, textOf, type OrgCall, type Routes } from './call.js'
import { answerPage } from './pages.js'
import { isoTime, type Org, type User } from './state.js'
import { compileSearch } from './search.js'

const PAGE = { standard: 200, max: 200 }
const MIN_PASSWORD_LENGTH = 8

/** What a new user starts with. */
export interface NewUser {
  readonly profile: Record<string, unknown>
  readonly password?: string
  readonly recoveryQuestion?: { question: string, answer: string }
  readonly status?: User['status']
}

/** Puts a user into the org; the login must be free. */
export function addUser (org: Org, written: NewUser, now: number, id: string = org.identify('00u')): User {
  const time = isoTime(now)
  const status = written.status ?? 'ACTIVE'
  const user: User = {
    id,
    status,
    created: time,
    activated: status === 'STAGED' ? null : time,
    statusChanged: status === 'STAGED' ? null : time,
    lastLogin: null,
    lastUpdated: time,
    passwordChanged: written.password === undefined ? null : time,
    profile: { firstName: null, lastName: null, mobilePhone: null, secondEmail: null, ...written.profile },
    password: written.password,
    recoveryQuestion: written.recoveryQuestion,
    factors: new Map(),
    roles: new Map(),
    failedAttempts: 0,
    enrollment: 'none',
    version: 1
  }
  org.users.set(user.id, user)
  org.logins.set(String(user.profile['login']).toLowerCase(), user.id)
  return user
}

/** What stands for `me` in a path once it is routed: the catalogue lets `me` fill no parameter, Okta does. */
export const OWNER = 'owner-of-the-token'

/** A user by id, by login (letter case aside), or `me`: the owner of the API token. */
export function findUser (call: OrgCall, name: string): User | undefined {
  const { org, principal } = call
  if (name === OWNER) return principal?.kind === 'apiToken' ? org.users.get(principal.userId) : undefined
  return org.users.get(name) ?? org.users.get(org.logins.get(name.toLowerCase()) ?? '')
}

/** The user that the first path parameter names, or what Okta answers when there is none. */
export function withUser (call: OrgCall, act: (user: User) => Answer): Answer {
  const name = parameterOf(call, 0)
  const user = findUser(call, name)
  return user === undefined ? notFound(name, 'User') : act(user)
}

/** Notes that a user has changed. */
export function touch (user: User, now: number): void {
  user.lastUpdated = isoTime(now)
  user.version++
  user.json = undefined
}

/** Gives a user another status. */
export function setStatus (user: User, status: User['status'], now: number): void {
  user.status = status
  user.statusChanged = isoTime(now)
  touch(user, now)
}

/** Sets a password; undefined, or why it is refused. */
export function setPassword (user: User, password: string, now: number): string | undefined {
  if (password.length < MIN_PASSWORD_LENGTH) {
    return `Password requirements were not met. Password requirements: at least ${MIN_PASSWORD_LENGTH} characters.`
  }
  user.password = password
  user.passwordChanged = isoTime(now)
  if (user.status === 'PASSWORD_EXPIRED' || user.status === 'RECOVERY') user.status = 'ACTIVE'
  touch(user, now)
  return undefined
}

/** `credentials` of a user, as Okta shows them: never a password, never an answer. */
export function credentialsOf (user: User): Record<string, unknown> {
  return {
    ...(user.password === undefined ? {} : { password: {} }),
    emails: [{ value: user.profile['email'], status: 'VERIFIED', type: 'PRIMARY' }],
    ...(user.recoveryQuestion === undefined ? {} : { recovery_question: { question: user.recoveryQuestion.question } }),
    provider: { type: 'OKTA', name: 'OKTA' }
  }
}

const LINKED = ['suspend', 'reset_password', 'expire_password', 'reset_factors', 'deactivate'] as const

/** A user as JSON text; kept until the user changes. */
export function userJson (org: Org, user: User): string {
  if (user.json !== undefined) return user.json
  const self = `${org.origin}/api/v1/users/${user.id}`
  const links: Record<string, unknown> = { self: { href: self } }
  for (const name of LINKED) links[camelCase(name)] = { href: `${self}/lifecycle/${name}`, method: 'POST' }
  user.json = JSON.stringify({
    id: user.id,
    status: user.status,
    created: user.created,
    activated: user.activated,
    statusChanged: user.statusChanged,
    lastLogin: user.lastLogin,
    lastUpdated: user.lastUpdated,
    passwordChanged: user.passwordChanged,
    type: { id: `oty${org.id.slice(3)}` },
    profile: user.profile,
    credentials: credentialsOf(user),
    _links: links
  })
  return user.json
}

function camelCase (name: string): string {
  return name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())
}

function etagOf (user: User): string {
  return `"${user.id}-${user.version}"`
}

function answerUser (call: OrgCall, user: User): Answer {
  return text(userJson(call.org, user), 200, ['ETag', etagOf(user)])
}

function listUsers (call: OrgCall): Answer {
  const criteria = queryOf(call, 'search') ?? queryOf(call, 'filter')
  const start = queryOf(call, 'q')?.toLowerCase()
  const { org } = call
  const match = criteria === undefined ? (user: User) => user.status !== 'DEPROVISIONED' : compileSearch(criteria)
  if (match === undefined) return failure('E0000031', { causes: ['The search criteria cannot be read.'] })
  const begins = (user: User): boolean => start === undefined ||
    ['firstName', 'lastName', 'email'].some(name => String(user.profile[name] ?? '').toLowerCase().startsWith(start))
  return answerPage(call, filtered(org.users.values(), user => match(user) && begins(user)), PAGE, user => userJson(org, user))
}

function * filtered<T> (items: Iterable<T>, keep: (item: T) => boolean): Generator<T> {
  for (const item of items) if (keep(item)) yield item
}

function createUser (call: OrgCall): Answer {
  const body = bodyOf(call)
  const profile = objectOf(body['profile'])
  const login = textOf(profile['login'])
  if (login === undefined) return invalid('login', 'login: The field cannot be left blank')
  if (call.org.logins.has(login.toLowerCase())) return taken()
  const credentials = readCredentials(body)
  if (credentials.password !== undefined && credentials.password.length < MIN_PASSWORD_LENGTH) return invalid('password')
  const groups = Array.isArray(body['groupIds']) ? body['groupIds'] : []
  for (const id of groups) if (!call.org.groups.has(String(id))) return notFound(String(id), 'UserGroup')
  const activate = queryOf(call, 'activate') !== 'false'
  const active = credentials.password === undefined ? 'PROVISIONED' : queryOf(call, 'nextLogin') === 'changePassword' ? 'PASSWORD_EXPIRED' : 'ACTIVE'
  const user = addUser(call.org, { profile, ...credentials, status: activate ? active : 'STAGED' }, call.now)
  for (const id of groups) call.org.groups.get(String(id))?.members.add(user.id)
  log(call, 'user.lifecycle.create', { id: user.id, type: 'User' })
  return answerUser(call, user)
}

function taken (): Answer {
  return invalid('login', 'login: An object with this field already exists in the current organization')
}

function readCredentials (body: Record<string, unknown>): Pick<NewUser, 'password' | 'recoveryQuestion'> {
  const credentials = objectOf(body['credentials'])
  const recovery = objectOf(credentials['recovery_question'])
  const question = textOf(recovery['question'])
  const answer = textOf(recovery['answer'])
  return {
    password: textOf(objectOf(credentials['password'])['value']),
    recoveryQuestion: question === undefined || answer === undefined ? undefined : { question, answer }
  }
}

/** POST: what is given is changed; PUT: a profile property that is left out is gone (spec, replaceUser). */
function updateUser (call: OrgCall, replace: boolean): Answer {
  return withUser(call, user => {
    const condition = call.headers['if-match']
    // RFC 9110 section 13.1.1; Okta's own body for it is not recorded.
    if (condition !== undefined && condition !== '*' && condition !== etagOf(user)) return failure('E0000001', { status: 412 })
    const body = bodyOf(call)
    const written = body['profile'] === undefined ? undefined : objectOf(body['profile'])
    // What Okta does with a PUT that brings credentials and no profile is not established; taken here as "keep the profile".
    if (replace && written === undefined && body['credentials'] === undefined) return invalid('profile', 'profile: The field cannot be left blank')
    const profile = written === undefined ? user.profile : replace ? written : { ...user.profile, ...written }
    const login = textOf(profile['login'])
    if (login === undefined) return invalid('login', 'login: The field cannot be left blank')
    const owner = call.org.logins.get(login.toLowerCase())
    if (owner !== undefined && owner !== user.id) return taken()
    const { password, recoveryQuestion } = readCredentials(body)
    const refused = password === undefined ? undefined : setPassword(user, password, call.now)
    if (refused !== undefined) return invalid('password', refused)
    call.org.logins.delete(String(user.profile['login']).toLowerCase())
    call.org.logins.set(login.toLowerCase(), user.id)
    user.profile = profile
    user.recoveryQuestion = recoveryQuestion ?? user.recoveryQuestion
    touch(user, call.now)
    return answerUser(call, user)
  })
}

/** The first DELETE deactivates, the second removes (spec, deleteUser). `Prefer: respond-async` changes nothing in the answer. */
function deleteUser (call: OrgCall): Answer {
  return withUser(call, user => {
    if (user.status !== 'DEPROVISIONED') {
      setStatus(user, 'DEPROVISIONED', call.now)
      return noContent()
    }
    call.org.users.delete(user.id)
    call.org.logins.delete(String(user.profile['login']).toLowerCase())
    for (const group of call.org.groups.values()) group.members.delete(user.id)
    return noContent()
  })
}

function listUserGroups (call: OrgCall, groupJson: (org: Org, id: string) => string): Answer {
  return withUser(call, user => {
    const mine = [...call.org.groups.values()].filter(group => group.members.has(user.id))
    return answerPage(call, mine, PAGE, group => groupJson(call.org, group.id))
  })
}

/** Users: list, create, read, update, replace, delete; and a user's groups. */
export function userRoutes (groupJson: (org: Org, id: string) => string): Routes {
  return {
    'GET /api/v1/users': listUsers,
    'POST /api/v1/users': createUser,
    'GET /api/v1/users/{id}': call => withUser(call, user => answerUser(call, user)),
    'POST /api/v1/users/{id}': call => updateUser(call, false),
    'PUT /api/v1/users/{id}': call => updateUser(call, true),
    'DELETE /api/v1/users/{id}': deleteUser,
    'GET /api/v1/users/{id}/groups': call => listUserGroups(call, groupJson)
  }
}
