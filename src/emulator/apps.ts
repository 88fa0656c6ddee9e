import type { JWK } from 'jose'
import { failure, json, noContent, type Answer } from './answers.js'
import { bodyOf, invalid, notFound, parameterOf, textOf, type OrgCall, type Routes } from './call.js'
import { answerPage } from './pages.js'
import { isoTime, type App, type Org, type Role } from './state.js'
import { findUser } from './users.js'

const PAGE = { standard: 20, max: 200 }

/** What a service app starts with. */
export interface ServiceApp {
  /** becomes the app's id, as Okta does it; 20 characters that begin with 0oa */
  readonly clientId: string
  /** public keys */
  readonly jwks: { readonly keys: readonly JWK[] }
  /** Okta scopes granted to it */
  readonly scopes: readonly string[]
  readonly label?: string
  /** dpop_bound_access_tokens */
  readonly dpop?: boolean
  readonly grantTypes?: readonly string[]
  readonly network?: Readonly<Record<string, unknown>>
}

/** Puts an API service app into the org, with its grants. */
export function addServiceApp (org: Org, written: ServiceApp, now: number): App {
  const time = isoTime(now)
  const label = written.label ?? written.clientId
  const app: App = {
    id: written.clientId,
    document: {
      id: written.clientId,
      name: 'oidc_client',
      label,
      status: 'ACTIVE',
      created: time,
      lastUpdated: time,
      signOnMode: 'OPENID_CONNECT',
      credentials: { oauthClient: { client_id: written.clientId, token_endpoint_auth_method: 'private_key_jwt' } },
      settings: {
        oauthClient: {
          application_type: 'service',
          grant_types: written.grantTypes ?? ['client_credentials'],
          response_types: ['token'],
          dpop_bound_access_tokens: written.dpop ?? false,
          jwks: written.jwks,
          network: written.network ?? { connection: 'ANYWHERE' }
        }
      }
    },
    grants: new Map(),
    roles: new Map(),
    jwks: { keys: [...written.jwks.keys] },
    dpop: written.dpop ?? false
  }
  org.apps.set(app.id, app)
  for (const scope of written.scopes) addGrant(org, app, scope, now)
  return app
}

function addGrant (org: Org, app: App, scopeId: string, now: number): Record<string, unknown> {
  const id = org.identify('oag')
  const time = isoTime(now)
  const grant = { id, status: 'ACTIVE', created: time, lastUpdated: time, issuer: org.origin, clientId: app.id, scopeId, source: 'ADMIN' }
  app.grants.set(id, grant)
  return grant
}

/** The scopes that are granted to an app. */
export function grantedScopes (app: App): Set<string> {
  return new Set([...app.grants.values()].map(grant => String(grant['scopeId'])))
}

/** Assigns an admin role to a user or a client. */
export function addRole (org: Org, roles: Map<string, Role>, assignmentType: Role['assignmentType'], written: Pick<Role, 'type'> & Partial<Role>, now: number): Role {
  const role: Role = { label: written.type, ...written, id: org.identify(written.type === 'CUSTOM' ? 'irb' : 'ra1'), assignmentType, created: isoTime(now) }
  roles.set(role.id, role)
  return role
}

function withApp (call: OrgCall, act: (app: App) => Answer): Answer {
  const id = parameterOf(call, 0)
  const app = call.org.apps.get(id)
  return app === undefined ? notFound(id, 'AppInstance') : act(app)
}

function createApp (call: OrgCall): Answer {
  const body = bodyOf(call)
  if (textOf(body['signOnMode']) === undefined) return invalid('signOnMode', 'signOnMode: The field cannot be left blank')
  const id = call.org.identify('0oa')
  const time = isoTime(call.now)
  const app: App = { id, document: { ...body, id, status: 'ACTIVE', created: time, lastUpdated: time }, grants: new Map(), roles: new Map(), jwks: { keys: [] }, dpop: false }
  call.org.apps.set(id, app)
  return json(app.document)
}

function replaceApp (call: OrgCall): Answer {
  return withApp(call, app => {
    app.document = { ...app.document, ...bodyOf(call), id: app.id, lastUpdated: isoTime(call.now) }
    return json(app.document)
  })
}

function setAppStatus (call: OrgCall, status: string): Answer {
  return withApp(call, app => {
    app.document['status'] = status
    return json({})
  })
}

/** Recorded: 403 E0000056 while the app is active. */
function deleteApp (call: OrgCall): Answer {
  return withApp(call, app => {
    if (app.document['status'] === 'ACTIVE') return failure('E0000056', { causes: ['The application must be deactivated before deletion.'] })
    call.org.apps.delete(app.id)
    return noContent()
  })
}

function grantScope (call: OrgCall): Answer {
  return withApp(call, app => {
    const scope = textOf(bodyOf(call)['scopeId'])
    if (scope === undefined) return invalid('scopeId', 'scopeId: The field cannot be left blank')
    return json(addGrant(call.org, app, scope, call.now))
  })
}

function withGrant (call: OrgCall, act: (app: App, grant: Record<string, unknown>) => Answer): Answer {
  return withApp(call, app => {
    const id = parameterOf(call, 1)
    const grant = app.grants.get(id)
    return grant === undefined ? notFound(id, 'OAuth2ScopeConsentGrant') : act(app, grant)
  })
}

/** The roles of the user or client that the first path parameter names. */
function withRoles (call: OrgCall, act: (roles: Map<string, Role>, type: Role['assignmentType']) => Answer): Answer {
  const id = parameterOf(call, 0)
  const ofClient = call.target.path.startsWith('/oauth2/')
  const roles = ofClient ? call.org.apps.get(id)?.roles : findUser(call, id)?.roles
  return roles === undefined ? notFound(id, ofClient ? 'PublicClientApp' : 'User') : act(roles, ofClient ? 'CLIENT' : 'USER')
}

function assignRole (call: OrgCall): Answer {
  return withRoles(call, (roles, assignmentType) => {
    const body = bodyOf(call)
    const type = textOf(body['type'])
    if (type === undefined) return invalid('type', 'type: The field cannot be left blank')
    const custom = type === 'CUSTOM' ? { role: textOf(body['role']), 'resource-set': textOf(body['resource-set']) } : {}
    return json(addRole(call.org, roles, assignmentType, { type, ...custom }, call.now), 201)
  })
}

function withRole (call: OrgCall, act: (roles: Map<string, Role>, role: Role) => Answer): Answer {
  return withRoles(call, roles => {
    const id = parameterOf(call, 1)
    const role = roles.get(id)
    return role === undefined ? notFound(id, 'RoleAssignment') : act(roles, role)
  })
}

function roleRoutes (path: string): Routes {
  return {
    [`GET ${path}`]: call => withRoles(call, roles => json([...roles.values()])),
    [`POST ${path}`]: assignRole,
    [`GET ${path}/{roleAssignmentId}`]: call => withRole(call, (_, role) => json(role)),
    [`DELETE ${path}/{roleAssignmentId}`]: call => withRole(call, (roles, role) => {
      roles.delete(role.id)
      return noContent()
    })
  }
}

/** Applications, their grants, and the admin roles of users and clients. */
export const appRoutes: Routes = {
  'GET /api/v1/apps': call => answerPage(call, call.org.apps.values(), PAGE, app => JSON.stringify(app.document)),
  'POST /api/v1/apps': createApp,
  'GET /api/v1/apps/{appId}': call => withApp(call, app => json(app.document)),
  'PUT /api/v1/apps/{appId}': replaceApp,
  'DELETE /api/v1/apps/{appId}': deleteApp,
  'POST /api/v1/apps/{appId}/lifecycle/activate': call => setAppStatus(call, 'ACTIVE'),
  'POST /api/v1/apps/{appId}/lifecycle/deactivate': call => setAppStatus(call, 'INACTIVE'),
  'GET /api/v1/apps/{appId}/grants': call => withApp(call, app => json([...app.grants.values()])),
  'POST /api/v1/apps/{appId}/grants': grantScope,
  'GET /api/v1/apps/{appId}/grants/{grantId}': call => withGrant(call, (_, grant) => json(grant)),
  'DELETE /api/v1/apps/{appId}/grants/{grantId}': call => withGrant(call, (app, grant) => {
    app.grants.delete(String(grant['id']))
    return noContent()
  }),
  ...roleRoutes('/oauth2/v1/clients/{clientId}/roles'),
  ...roleRoutes('/api/v1/users/{userId}/roles')
}
