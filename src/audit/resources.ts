import type { Resource } from '../domain/event.js'
import type { Operation } from '../domain/operation.js'

/** What the literal before a parameter calls the things under it; any other is its singular. */
const KINDS: ReadonlyMap<string, string> = new Map([
  ['apps', 'app'], ['policies', 'policy'], ['factors', 'factor'], ['devices', 'device'], ['authorizationServers', 'authorization_server'],
  ['idps', 'identity_provider'], ['inlineHooks', 'inline_hook'], ['eventHooks', 'event_hook'], ['api-tokens', 'api_token'], ['authenticators', 'authenticator'],
  ['identities', 'identity'], ['brands', 'brand'], ['zones', 'zone'], ['sessions', 'session'], ['tokens', 'token'], ['refresh_tokens', 'token'], ['keys', 'key'], ['credentials', 'credential']
])

/**
 * Kind of each path parameter of an operation, in its order: by the literal before it. `/users/{userId}/factors/{id}`
 * gives user, factor.
 */
export function kindsOf ({ segments }: Operation): readonly string[] {
  const kinds: string[] = []
  segments.forEach((segment, i) => {
    if (segment.kind === 'literal') return
    const before = segments[i - 1]
    kinds.push(before?.kind === 'literal' ? KINDS.get(before.name) ?? singular(before.name) : segment.name)
  })
  return kinds
}

function singular (name: string): string {
  return name.endsWith('s') && !name.endsWith('ss') ? name.slice(0, -1) : name
}

/** Remembers the kinds of each operation, and makes an event's resources. */
export function createResources (): (operation: Operation, parameters: readonly string[]) => readonly Resource[] | undefined {
  const known = new WeakMap<Operation, readonly string[]>()
  return (operation, parameters) => {
    if (parameters.length === 0) return undefined
    let kinds = known.get(operation)
    if (kinds === undefined) known.set(operation, kinds = kindsOf(operation))
    return parameters.map((id, i) => ({ kind: kinds[i]!, id }))
  }
}
