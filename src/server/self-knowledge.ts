import { signInPattern, type GateSelf } from '../okta/self.js'

/** One read of the gate's own, with its own credential: the JSON of a 200, else undefined. Never rejects. */
export type Ask = (operation: string, target: string) => Promise<unknown>

/** What the gate knows of one of its credentials: ids, in lower case. */
export interface Identity {
  readonly ids: readonly string[]
  readonly bounds: readonly string[]
  readonly names: ReadonlyArray<readonly [string, boolean]>
  readonly logins: readonly string[]
  readonly groups: readonly string[]
  /** what could not be read, in words for the operator */
  readonly unknown: readonly string[]
}

interface Notes { readonly ids: Set<string>, readonly bounds: Set<string>, readonly names: Map<string, boolean>, readonly logins: Set<string>, readonly groups: Set<string>, readonly unknown: string[] }

/**
 * Finds out who the gate is behind a service app, as far as its rights allow: its zones, its roles and their resource
 * sets, its principal rate limit. What it can't read it says.
 */
export async function learnServiceApp (clientId: string, ask: Ask): Promise<Identity> {
  const notes = begin([clientId])
  const learnApp = async (): Promise<void> => {
    const app = await ask('getApplication', `/api/v1/apps/${encodeURIComponent(clientId)}`)
    if (app === undefined) { notes.unknown.push('network zones (okta.apps.read)'); return }
    add(notes.ids, at(app, 'id'))
    zones(notes, at(app, 'settings', 'oauthClient', 'network'))
  }
  const learnRoles = async (): Promise<void> => { await roles(notes, await ask('listRolesForClient', `/oauth2/v1/clients/${encodeURIComponent(clientId)}/roles`), ask) }
  // Side by side: Okta takes a second for each.
  await Promise.all([learnApp(), learnRoles(), principalLimits(notes, 'OAUTH_CLIENT', ask)])
  return finish(notes)
}

/** The same behind an API token: its owner, the owner's tokens, their zones, the owner's roles and groups. */
export async function learnTokenOwner (ask: Ask): Promise<Identity> {
  const notes = begin([])
  const me = await ask('getUser', '/api/v1/users/me')
  const id = text(at(me, 'id'))
  if (id === undefined) return finish({ ...notes, unknown: ['the owner of the API token'] })
  add(notes.ids, id)
  const login = text(at(me, 'profile', 'login'))?.toLowerCase()
  if (login !== undefined) nameLogin(notes, login)
  const learnTokens = async (): Promise<void> => {
    const tokens = await ask('listApiTokens', '/api/v1/api-tokens')
    if (!Array.isArray(tokens)) { notes.unknown.push('ids and network zones of its API tokens'); return }
    for (const token of tokens.filter(token => at(token, 'userId') === id)) {
      add(notes.ids, at(token, 'id'))
      zones(notes, at(token, 'network'))
    }
    await principalLimits(notes, 'SSWS_TOKEN', ask)
  }
  const learnRoles = async (): Promise<void> => { await roles(notes, await ask('listAssignedRolesForUser', `/api/v1/users/${id}/roles`), ask) }
  const learnGroups = async (): Promise<void> => {
    const groups = await ask('listUserGroups', `/api/v1/users/${id}/groups`)
    if (Array.isArray(groups)) for (const group of groups) add(notes.groups, at(group, 'id'))
    else notes.unknown.push('its groups')
  }
  await Promise.all([learnTokens(), learnRoles(), learnGroups()])
  return finish(notes)
}

/** Okta takes what stands before the @ for the login where that is unambiguous. */
function nameLogin (notes: Notes, login: string): void {
  const short = login.replace(/@.*$/, '')
  notes.ids.add(login)
  for (const name of [login, short]) notes.logins.add(name)
  if (short !== login) notes.names.set(`users/${short}`, false)
}

async function roles (notes: Notes, found: unknown, ask: Ask): Promise<void> {
  if (!Array.isArray(found)) { notes.unknown.push('roles (okta.roles.read)'); return }
  for (const role of found) {
    add(notes.bounds, at(role, 'id'))
    add(notes.bounds, at(role, 'role'))
    add(notes.bounds, at(role, 'resource-set'))
    const label = text(at(role, 'label'))?.toLowerCase()
    if (at(role, 'type') !== 'CUSTOM') continue
    if (label !== undefined) for (const before of ['roles', 'bindings']) notes.names.set(`${before}/${label}`, true)
    const set = text(at(role, 'resource-set'))
    const named = set === undefined ? undefined : text(at(await ask('getResourceSet', `/api/v1/iam/resource-sets/${encodeURIComponent(set)}`), 'label'))?.toLowerCase()
    if (named !== undefined) notes.names.set(`resource-sets/${named}`, true)
  }
}

async function principalLimits (notes: Notes, type: string, ask: Ask): Promise<void> {
  const limits = await ask('listPrincipalRateLimitEntities', `/api/v1/principal-rate-limits?filter=${encodeURIComponent(`principalType eq "${type}"`)}`)
  if (!Array.isArray(limits)) { notes.unknown.push('its principal rate limit (okta.principalRateLimits.read)'); return }
  for (const limit of limits) if (notes.ids.has(String(at(limit, 'principalId')).toLowerCase())) add(notes.bounds, at(limit, 'id'))
}

function zones (notes: Notes, network: unknown): void {
  const include = at(network, 'include')
  if (Array.isArray(include)) for (const zone of include) add(notes.bounds, zone)
}

/** Joins what is known of all credentials into what calls are judged by. */
export function selfOf (identities: Iterable<Identity>): GateSelf {
  const all = [...identities]
  const ids = new Set(all.flatMap(one => one.ids))
  return ids.size === 0 ? {} : { ids, bounds: new Set(all.flatMap(one => one.bounds)), names: new Map(all.flatMap(one => one.names)), groups: new Set(all.flatMap(one => one.groups)), signIn: signInPattern([...new Set(all.flatMap(one => one.logins))]) }
}

/** What is known of a service app before anybody was asked. */
export function barely (clientId: string): Identity {
  return finish(begin([clientId]))
}

function begin (ids: readonly string[]): Notes {
  return { ids: new Set(ids.map(id => id.toLowerCase())), bounds: new Set(), names: new Map(), logins: new Set(), groups: new Set(), unknown: [] }
}

function finish ({ ids, bounds, names, logins, groups, unknown }: Notes): Identity {
  return { ids: [...ids], bounds: [...bounds].filter(id => !ids.has(id)), names: [...names], logins: [...logins], groups: [...groups], unknown }
}

function add (to: Set<string>, value: unknown): void {
  const word = text(value)
  if (word !== undefined) to.add(word.toLowerCase())
}

function text (value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** A value inside JSON; undefined where there is none. */
export function at (value: unknown, ...path: readonly string[]): unknown {
  let current = value
  for (const name of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, name)) return undefined
    current = (current as Record<string, unknown>)[name]
  }
  return current
}
