import { createCatalog, type Catalog, type DeclaredOperation } from '../okta/catalog.js'
import type { Operation } from '../domain/operation.js'
import { failure, json, type Answer } from './answers.js'
import { adminRoutes } from './admin.js'
import { appRoutes } from './apps.js'
import { authnRoutes } from './authn.js'
import { notFound, parameterOf, type Handler, type OrgCall, type Routes } from './call.js'
import { factorRoutes } from './factors.js'
import { groupJson, groupRoutes } from './groups.js'
import { lifecycleRoutes } from './lifecycle.js'
import { recoveryRoutes } from './recovery.js'
import { sessionRoutes } from './sessions.js'
import { userRoutes } from './users.js'

/** The catalogue and, by an operation's index, what answers it. */
export interface Router {
  readonly catalog: Catalog
  readonly handlers: readonly Handler[]
}

/** Operations that Okta answers and its specification lacks: operation-list.json, entry 16; a recorded POST of the Python SDK. */
const UNDOCUMENTED: readonly DeclaredOperation[] = [
  { id: 'createSessionOfEmulator', method: 'POST', template: '/api/v1/sessions', query: [] },
  { id: 'replaceFactorOfEmulator', method: 'PUT', template: '/api/v1/users/{userId}/factors/{factorId}', query: [] }
]

/** Joins handlers to the catalogue once. @throws when a handler's operation is not in the catalogue */
export function createRouter (): Router {
  const known = createCatalog()
  const catalog = createCatalog(UNDOCUMENTED.filter(entry => known.byTemplate(entry.method, entry.template) === undefined))
  const handlers = catalog.operations.map(unhandled)
  for (const [request, handler] of allRoutes()) {
    const space = request.indexOf(' ')
    const operation = catalog.byTemplate(request.slice(0, space), request.slice(space + 1))
    if (operation === undefined) throw new Error(`the emulator handles ${request}, which the catalogue lacks`)
    handlers[operation.index] = handler
  }
  return { catalog, handlers }
}

function allRoutes (): [string, Handler][] {
  const groups: Routes[] = [
    userRoutes(groupJson), lifecycleRoutes, groupRoutes, factorRoutes, authnRoutes, recoveryRoutes, sessionRoutes, appRoutes, adminRoutes
  ]
  return groups.flatMap(routes => Object.entries(routes))
}

/** What the emulated org has nothing of: no items in a list, nobody under an id. */
function unhandled (operation: Operation): Handler {
  const kind = operation.id.replace(/^(?:get|list|create|replace|update|delete)/, '')
  if (operation.parameters.length > 0) return (call: OrgCall): Answer => notFound(parameterOf(call, operation.parameters.length - 1), kind)
  if (operation.method === 'GET') return () => json([])
  return () => failure('E0000007', { summary: `Not found: Resource not found: ${operation.template} (${kind})` })
}
