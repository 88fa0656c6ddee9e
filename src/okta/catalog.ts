import type { Method, Operation } from '../domain/operation.js'
import type { Target } from '../domain/target.js'
import { declaredConflicts, toOperation, type DeclaredOperation } from './declared.js'
import { nearestIds, nearestTemplates } from './nearest.js'
import { oktaOperations } from './operations.js'
import { shapeOf } from './template.js'
import { insert, TrieNode, walk } from './trie.js'

export type { DeclaredOperation } from './declared.js'

/** What a method and target are in the catalogue. */
export type Resolution =
  | {
    readonly kind: 'operation'
    readonly operation: Operation
    /** decoded, in the order of the path */
    readonly parameters: readonly string[]
    /** an alias was used (`/api/v1/authn/`) */
    readonly alias: boolean
  }
  | { readonly kind: 'unknown_path' }
  | { readonly kind: 'unknown_method', readonly allowed: readonly Method[] }

/** Okta's operations and the operator's own, immutable. One per snapshot, shared by all clients. */
export interface Catalog {
  /** by index: an operation's `index` is its place here */
  readonly operations: readonly Operation[]
  /** paths that end in a slash and are known as such: parseTarget's second argument */
  readonly slashAliases: ReadonlySet<string>
  resolve (method: string, target: Pick<Target, 'path' | 'rawSegments' | 'segments'>): Resolution
  byId (id: string): Operation | undefined
  /** by shape: parameter names are free; an alias finds its operation */
  byTemplate (method: string, template: string): Operation | undefined
  /** ids that look like a mistyped one, nearest first, three at most */
  nearestIds (id: string): readonly string[]
  /** operations like one that does not exist: the same path with another method, then similar paths */
  nearestTemplates (method: string, template: string): readonly Operation[]
}

const UNKNOWN_PATH: Resolution = { kind: 'unknown_path' }

/**
 * Builds the catalogue: the templates' tokens (path-to-regexp's) in a segment trie, so that resolving looks at the
 * segments of the target and never scans templates.
 *
 * @param declared operations.yaml's, already found free of conflicts
 * @throws when they have conflicts: the loader reports declaredConflicts() instead of calling this
 */
export function createCatalog (declared: readonly DeclaredOperation[] = []): Catalog {
  const [conflict] = declaredConflicts(declared)
  if (conflict !== undefined) throw new Error(`declared operation ${declared[conflict.index]!.id}: ${conflict.message}`)
  const operations = [...oktaOperations, ...declared.map((entry, i) => toOperation(entry, oktaOperations.length + i))]
  const root = new TrieNode()
  for (const operation of operations) insert(root, operation)
  const aliases = aliasesOf(operations)
  const ids = new Map(operations.map(operation => [operation.id, operation]))
  const shapes = new Map(operations.flatMap(operation =>
    [operation.template, ...operation.aliases].map(path => [`${operation.method} ${shapeOf(path)}`, operation])))
  return {
    operations,
    slashAliases: new Set(aliases.keys()),
    resolve (method, target) {
      const { rawSegments } = target
      if (rawSegments[rawSegments.length - 1] === '') return resolveAlias(aliases.get(target.path), method)
      const values: string[] = []
      const node = walk(root, rawSegments, target.segments, values)
      const found = node?.operations.get(method)
      if (found === undefined) return node?.unknownMethod ?? UNKNOWN_PATH
      return values.length === 0 ? found : { kind: 'operation', operation: found.operation, parameters: values, alias: false }
    },
    byId: id => ids.get(id),
    byTemplate: (method, template) => shapes.get(`${method} ${shapeOf(template)}`),
    nearestIds: id => nearestIds(id, operations),
    nearestTemplates: (method, template) => nearestTemplates(method, template, operations)
  }
}

/** Aliased path → its resolutions by method. */
function aliasesOf (operations: readonly Operation[]): ReadonlyMap<string, ReadonlyMap<string, Resolution>> {
  const aliases = new Map<string, Map<string, Resolution>>()
  for (const operation of operations) {
    for (const path of operation.aliases) {
      const methods = aliases.get(path) ?? new Map<string, Resolution>()
      methods.set(operation.method, { kind: 'operation', operation, parameters: [], alias: true })
      aliases.set(path, methods)
    }
  }
  return aliases
}

function resolveAlias (methods: ReadonlyMap<string, Resolution> | undefined, method: string): Resolution {
  if (methods === undefined) return UNKNOWN_PATH
  return methods.get(method) ?? { kind: 'unknown_method', allowed: [...methods.keys()] as Method[] }
}
