import type { Call, CallBody } from '../domain/decision.js'
import { isRejection } from '../domain/rejection.js'
import { parseTarget } from '../domain/target.js'
import type { Catalog } from '../okta/catalog.js'

/** A request that never reaches the rules, and why. */
export interface Unjudged {
  readonly kind: 'target' | 'unknown_path' | 'unknown_method'
  readonly why: string
}

/** A call as decide() takes it, or why there is none. */
export type Resolved = { readonly kind: 'call', readonly call: Call } | Unjudged

/** Takes a method and a raw target the gate's own way, up to the point where rules are asked. */
export function resolveCall (catalog: Catalog, method: string, rawTarget: string, body: CallBody | undefined): Resolved {
  const target = parseTarget(rawTarget, catalog.slashAliases)
  if (isRejection(target)) return { kind: 'target', why: target.causes[0] ?? target.code.replaceAll('_', ' ') }
  const resolution = catalog.resolve(method, target)
  switch (resolution.kind) {
    case 'unknown_path': return { kind: 'unknown_path', why: `no operation is known under ${target.path}` }
    case 'unknown_method': return { kind: 'unknown_method', why: `${target.path} knows ${resolution.allowed.join(', ')}, not ${method}` }
    case 'operation': {
      const { operation, parameters, alias } = resolution
      return { kind: 'call', call: { operation, parameters, alias, query: target.query, body } }
    }
  }
}
