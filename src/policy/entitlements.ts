import type { CredentialKind } from '../domain/decision.js'
import type { Operation } from '../domain/operation.js'
import type { Catalog } from '../okta/catalog.js'
import { entitlementsOf, scopesFor, scopesOf, specifiedEntitlement, type Entitlement, type SpecifiedEntitlement } from '../okta/permissions.js'
import type { CompiledPolicy } from './compile.js'
import { isDenied } from './needed.js'

/** An operation that policies grant, with what the account behind the gate needs for it. */
export interface NeededRight {
  readonly operation: string
  readonly request: string
  readonly clients: readonly string[]
  readonly credentials: readonly CredentialKind[]
  /** of the call with the service app's token; empty: none is known, or none is needed */
  readonly scopes: readonly string[]
  /** why `scopes` is empty though the gate's credential goes out */
  readonly scopeNote?: string
  /** what is known of admin permissions and roles, by use; empty: not established */
  readonly uses: readonly Entitlement[]
  /** what Okta's OpenAPI description itself says */
  readonly specified?: SpecifiedEntitlement
}

export interface OpenedByScope {
  readonly scope: string
  /** operations that nobody here asks for, deletions first */
  readonly operations: readonly string[]
}

/** Everything that the administrators of the org have to grant, and what comes with it. */
export interface EntitlementReport {
  readonly clients: readonly string[]
  /** smallest set that covers the calls */
  readonly scopes: readonly { readonly scope: string, readonly operations: readonly string[] }[]
  readonly rights: readonly NeededRight[]
  /** why → operations that an OAuth token can't call */
  readonly apiToken: readonly { readonly operation: string, readonly why: string }[]
  /** operations that go out without any credential */
  readonly noCredential: readonly string[]
  readonly opened: readonly OpenedByScope[]
  /** all that `opened` lists, each once */
  readonly openedCount: number
}

interface Granted { readonly operation: Operation, readonly clients: Set<string>, readonly credentials: Set<CredentialKind>, readonly names: Set<string> }

/** Says which rights of the org the policies need. */
export function entitlements (policies: readonly CompiledPolicy[], catalog: Catalog): EntitlementReport {
  const granted = grantedBy(policies)
  const rights = granted.map(rightOf)
  const withToken = granted.filter(({ credentials }) => credentials.has('upstream')).map(({ operation }) => operation)
  const scopes = scopesFor(withToken)
  const opened = openedBy(scopes, new Set(withToken), catalog)
  return {
    clients: policies.map(policy => policy.client).sort(),
    scopes: scopes.map(scope => ({ scope, operations: withToken.filter(operation => scopesOf(operation).some(needed => covers(scope, needed))).map(({ id }) => id) })),
    rights,
    apiToken: granted.flatMap(({ operation, credentials }) => {
      if (credentials.has('authnToken')) return [{ operation: operation.id, why: 'a rule says credential: authnToken' }]
      return credentials.has('upstream') && !operation.oauth && operation.apiToken ? [{ operation: operation.id, why: 'Okta documents no OAuth for it' }] : []
    }),
    noCredential: granted.filter(({ credentials }) => credentials.has('none')).map(({ operation }) => operation.id),
    opened,
    openedCount: new Set(opened.flatMap(each => each.operations)).size
  }
}

function grantedBy (policies: readonly CompiledPolicy[]): Granted[] {
  const granted = new Map<string, Granted>()
  for (const policy of policies) {
    for (const { operation, credential, name } of policy.allow.shapes) {
      if (isDenied(policy, operation)) continue
      let entry = granted.get(operation.id)
      if (entry === undefined) granted.set(operation.id, entry = { operation, clients: new Set(), credentials: new Set(), names: new Set() })
      entry.clients.add(policy.client)
      entry.credentials.add(credential)
      entry.names.add(name.toLowerCase())
    }
  }
  return [...granted.values()].sort((a, b) => a.operation.index - b.operation.index)
}

function rightOf ({ operation, clients, credentials, names }: Granted): NeededRight {
  const own = credentials.has('upstream')
  const scopes = own ? scopesOf(operation) : []
  const known = entitlementsOf(operation.id).concat(operation.source === 'declared' ? entitlementsOf(`${operation.method} ${operation.template}`) : [])
  const named = known.filter(entry => names.has(entry.use.toLowerCase()))
  return {
    operation: operation.id,
    request: `${operation.method} ${operation.template}`,
    clients: [...clients].sort(),
    credentials: [...credentials],
    scopes,
    scopeNote: own && scopes.length === 0 ? scopeNote(operation) : undefined,
    uses: named.length > 0 ? named : known,
    specified: specifiedEntitlement(operation.id)
  }
}

function scopeNote (operation: Operation): string {
  if (operation.source === 'declared') return 'declared in operations.yaml: which scope it needs is not established'
  return operation.oauth ? 'Okta documents no scope for it' : 'Okta documents no OAuth for it'
}

/** A resource's `.manage` scope can do what its `.read` scope can (okta/permissions.ts). */
function covers (granted: string, needed: string): boolean {
  return granted === needed || granted === needed.replace(/\.read$/, '.manage')
}

/** What a token with these scopes can call beside what was asked for; each operation under the first scope that opens it. */
function openedBy (scopes: readonly string[], wanted: ReadonlySet<Operation>, catalog: Catalog): OpenedByScope[] {
  const has = (needed: string) => scopes.some(scope => covers(scope, needed))
  const open = catalog.operations.filter(operation => operation.oauth && operation.scopes.length > 0 && !wanted.has(operation) && !operation.reserved &&
    (operation.allScopesRequired ? operation.scopes.every(has) : operation.scopes.some(has)))
  return scopes.flatMap(scope => {
    const operations = open.filter(operation => scope === scopes.find(each => operation.scopes.some(needed => covers(each, needed))))
    const sorted = operations.toSorted((a, b) => Number(b.method === 'DELETE') - Number(a.method === 'DELETE') || a.index - b.index)
    return sorted.length === 0 ? [] : [{ scope, operations: sorted.map(({ id }) => id) }]
  })
}
