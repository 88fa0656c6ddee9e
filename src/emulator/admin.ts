import { failure, json, noContent, type Answer } from './answers.js'
import { bodyOf, invalid, notFound, objectOf, parameterOf, queryOf, textOf, type OrgCall, type Routes } from './call.js'
import { answerPage } from './pages.js'
import { isoTime, type ApiToken, type Document, type Org } from './state.js'

const WINDOW = 30 * 86_400_000
const PAGE = { standard: 200, max: 200 }
const PRINCIPAL_FILTER = /^principalType eq "(SSWS_TOKEN|OAUTH_CLIENT)"$/
const LOG_FILTER = /^(actor\.id|eventType|transaction\.detail\.requestApiTokenId) eq "([^"]*)"$/

/** An API token as listed; the list shows no `tokenWindow`, as recorded. */
function tokenView (org: Org, token: ApiToken, listed: boolean): Record<string, unknown> {
  return {
    id: token.id,
    name: token.name,
    userId: token.userId,
    clientName: 'Okta API',
    tokenWindow: listed ? null : 'P30D',
    network: token.network,
    expiresAt: isoTime(token.lastUsed + WINDOW),
    created: token.created,
    lastUpdated: isoTime(token.lastUsed),
    _links: {
      self: { href: `${org.origin}/api/v1/api-tokens/${token.id}`, hints: { allow: ['GET', 'DELETE'] } },
      user: { href: `${org.origin}/api/v1/users/${token.userId}`, hints: { allow: ['GET'] } }
    }
  }
}

/** Revokes a token, by whatever road. */
export function revoke (org: Org, token: ApiToken): void {
  org.apiTokens.delete(token.id)
  org.apiTokenValues.delete(token.value)
}

function withToken (call: OrgCall, act: (token: ApiToken) => Answer): Answer {
  const id = parameterOf(call, 0)
  const token = call.org.apiTokens.get(id)
  return token === undefined ? notFound(id, 'Token') : act(token)
}

/** Revokes the token in the header: API tokens only. */
function revokeCurrent (call: OrgCall): Answer {
  const token = call.principal?.kind === 'apiToken' ? call.org.apiTokens.get(call.principal.id) : undefined
  if (token === undefined) return failure('E0000006')
  revoke(call.org, token)
  return noContent()
}

/** Reading, replacing and deleting of stored objects that nothing else depends on. */
function documentRoutes (path: string, kind: string, documentsOf: (org: Org) => Map<string, Document>, view: (org: Org, document: Document) => unknown = (_, document) => document): Routes {
  const withDocument = (call: OrgCall, act: (document: Document) => Answer): Answer => {
    const id = parameterOf(call, 0)
    const document = documentsOf(call.org).get(id)
    return document === undefined ? notFound(id, kind) : act(document)
  }
  return {
    [`GET ${path}/{id}`]: call => withDocument(call, document => json(view(call.org, document))),
    [`PUT ${path}/{id}`]: call => withDocument(call, document => {
      const next = { ...document, ...bodyOf(call), id: document.id, lastUpdated: isoTime(call.now) }
      documentsOf(call.org).set(document.id, next)
      return json(view(call.org, next))
    }),
    [`DELETE ${path}/{id}`]: call => withDocument(call, document => {
      documentsOf(call.org).delete(document.id)
      return noContent()
    })
  }
}

function createZone (call: OrgCall): Answer {
  const body = bodyOf(call)
  if (textOf(body['name']) === undefined) return invalid('name', 'name: The field cannot be left blank')
  const time = isoTime(call.now)
  const zone = {
    type: 'IP', id: call.org.identify('nzo'), name: '', status: 'ACTIVE', usage: 'POLICY', created: time, lastUpdated: time, system: false, ...body
  }
  call.org.zones.set(zone.id, zone)
  return json(zone)
}

function setZoneStatus (call: OrgCall, status: string): Answer {
  const id = parameterOf(call, 0)
  const zone = call.org.zones.get(id)
  if (zone === undefined) return notFound(id, 'NetworkZone')
  zone['status'] = status
  return json(zone)
}

function createCustomRole (call: OrgCall): Answer {
  const { label, description, permissions } = bodyOf(call)
  if (textOf(label) === undefined || !Array.isArray(permissions)) return invalid('label')
  const time = isoTime(call.now)
  const role = { id: call.org.identify('cr0'), label, description, created: time, lastUpdated: time, permissions }
  call.org.customRoles.set(role.id, role)
  return json(roleView(call.org, role))
}

// IAM links carry the -admin host in recordings; this org has one host only.
function roleView (org: Org, { permissions, ...role }: Document): unknown {
  const self = `${org.origin}/api/v1/iam/roles/${role['id'] as string}`
  return { ...role, _links: { self: { href: self }, permissions: { href: `${self}/permissions` } } }
}

function listPermissions (call: OrgCall): Answer {
  const id = parameterOf(call, 0)
  const role = call.org.customRoles.get(id)
  if (role === undefined) return notFound(id, 'CustomRole')
  const permissions = (role['permissions'] as string[]).map(label => ({ label, created: role['created'], lastUpdated: role['lastUpdated'], conditions: null }))
  return json({ permissions })
}

/** `resources` and `bindings` of a resource set: bindings are `{ id: role, members: [{ id, _links.self.href }] }`. */
function partOfSet (call: OrgCall, part: 'resources' | 'bindings', name: string): Answer {
  const id = parameterOf(call, 0)
  const set = call.org.resourceSets.get(id)
  if (set === undefined) return notFound(id, 'IAMPolicy')
  return json({ [name]: set[part] ?? [], _links: { 'resource-set': { href: `${call.org.origin}/api/v1/iam/resource-sets/${id}` } } })
}

function bindingMembers (call: OrgCall): Answer {
  const [id = '', role = ''] = call.parameters
  const bindings = call.org.resourceSets.get(id)?.['bindings']
  const binding = Array.isArray(bindings) ? bindings.map(objectOf).find(entry => entry['id'] === role) : undefined
  return binding === undefined ? notFound(role, 'CustomRole') : json({ members: binding['members'] ?? [] })
}

/** The list needs a filter by principal type (rate-limits.json, perPrincipal). */
function listPrincipalLimits (call: OrgCall): Answer {
  const type = PRINCIPAL_FILTER.exec(queryOf(call, 'filter') ?? '')?.[1]
  if (type === undefined) return invalid('filter', 'filter: principalType is required')
  return json([...call.org.principalLimits.values()].filter(limit => limit['principalType'] === type))
}

function listLog (call: OrgCall): Answer {
  const terms = (queryOf(call, 'filter') ?? '').split(' and ').filter(term => term !== '').map(term => LOG_FILTER.exec(term))
  if (terms.includes(null)) return failure('E0000031')
  const since = queryOf(call, 'since') ?? ''
  const found = call.org.log.filter(event => event.published >= since && terms.every(term => {
    const value = term?.[1] === 'actor.id' ? event.actor.id : term?.[1] === 'eventType' ? event.eventType : event.transaction.detail['requestApiTokenId']
    return value === term?.[2]
  }))
  return answerPage(call, found.map(event => ({ id: event.uuid, event })), { standard: 100, max: 1000 }, item => JSON.stringify(item.event))
}

function setPrivileges (call: OrgCall): Answer {
  call.org.settings.clientPrivileges = bodyOf(call)['clientPrivilegesSetting'] === true
  return json({ clientPrivilegesSetting: call.org.settings.clientPrivileges })
}

// There is no DELETE for these (rate-limits.json, perPrincipal).
const { 'DELETE /api/v1/principal-rate-limits/{id}': _, ...principalLimitRoutes } = documentRoutes('/api/v1/principal-rate-limits', 'PrincipalRateLimit', org => org.principalLimits)

/** What administrators of the org handle: API tokens, zones, custom roles, principal limits, the System Log. */
export const adminRoutes: Routes = {
  'GET /api/v1/api-tokens': call => json([...call.org.apiTokens.values()].map(token => tokenView(call.org, token, true))),
  'GET /api/v1/api-tokens/{apiTokenId}': call => withToken(call, token => json(tokenView(call.org, token, false))),
  'DELETE /api/v1/api-tokens/{apiTokenId}': call => withToken(call, token => {
    revoke(call.org, token)
    return noContent()
  }),
  'DELETE /api/v1/api-tokens/current': revokeCurrent,
  'GET /api/v1/zones': call => answerPage(call, call.org.zones.values(), PAGE, zone => JSON.stringify(zone)),
  'POST /api/v1/zones': createZone,
  ...documentRoutes('/api/v1/zones', 'NetworkZone', org => org.zones),
  'POST /api/v1/zones/{zoneId}/lifecycle/activate': call => setZoneStatus(call, 'ACTIVE'),
  'POST /api/v1/zones/{zoneId}/lifecycle/deactivate': call => setZoneStatus(call, 'INACTIVE'),
  'GET /api/v1/iam/roles': call => json({ roles: [...call.org.customRoles.values()].map(role => roleView(call.org, role)) }),
  'POST /api/v1/iam/roles': createCustomRole,
  ...documentRoutes('/api/v1/iam/roles', 'CustomRole', org => org.customRoles, roleView),
  'GET /api/v1/iam/roles/{roleIdOrLabel}/permissions': listPermissions,
  'GET /api/v1/iam/resource-sets': call => json({ 'resource-sets': [...call.org.resourceSets.values()].map(({ id, label, description }) => ({ id, label, description })) }),
  ...documentRoutes('/api/v1/iam/resource-sets', 'IAMPolicy', org => org.resourceSets, (_, { id, label, description }) => ({ id, label, description })),
  'GET /api/v1/iam/resource-sets/{resourceSetIdOrLabel}/resources': call => partOfSet(call, 'resources', 'resources'),
  'GET /api/v1/iam/resource-sets/{resourceSetIdOrLabel}/bindings': call => partOfSet(call, 'bindings', 'roles'),
  'GET /api/v1/iam/resource-sets/{resourceSetIdOrLabel}/bindings/{roleIdOrLabel}/members': bindingMembers,
  'GET /api/v1/principal-rate-limits': listPrincipalLimits,
  ...principalLimitRoutes,
  'GET /api/v1/logs': listLog,
  'GET /api/v1/org/settings/clientPrivilegesSetting': call => json({ clientPrivilegesSetting: call.org.settings.clientPrivileges }),
  'PUT /api/v1/org/settings/clientPrivilegesSetting': setPrivileges
}
