import type { Method, Operation } from '../domain/operation.js'
import { bucketOf } from './buckets.js'
import { oktaOperations } from './operations.js'
import { parseTemplate, shapeOf, templateProblem } from './template.js'
import { insert, METHODS, TrieNode } from './trie.js'

/** An operation that operations.yaml adds to Okta's. */
export interface DeclaredOperation {
  readonly id: string
  readonly method: Method
  readonly template: string
  /** absent: the bucket that the path falls into */
  readonly bucket?: string
  readonly query: readonly string[]
}

/** Why a declared operation cannot be added. */
export interface DeclaredConflict {
  /** position in the list of declared operations */
  readonly index: number
  /** which of its values is wrong */
  readonly field: 'id' | 'request' | 'bucket'
  readonly message: string
  readonly hint?: string
}

const ID = /^[A-Za-z][A-Za-z0-9_.-]*$/
const BUCKET = /^(?:(?:GET|POST|PUT|PATCH|DELETE)(?:,(?:GET|POST|PUT|PATCH|DELETE))* )?\/[!-~]*$/
const OWN_ACCOUNT = /^(?:me|current)$/i

/**
 * Everything that keeps declared operations from joining the catalogue: malformed values, an id or a method and path
 * that exist, a second spelling of an existing path, a path that names the gate's own account.
 */
export function declaredConflicts (declared: readonly DeclaredOperation[]): readonly DeclaredConflict[] {
  if (declared.length === 0) return []
  const ids = new Map(oktaOperations.map(operation => [operation.id, `${operation.method} ${operation.template}`]))
  const shapes = new Map(oktaOperations.flatMap(operation =>
    [operation.template, ...operation.aliases].map(path => [`${operation.method} ${shapeOf(path)}`, operation.id])))
  const root = new TrieNode()
  for (const operation of oktaOperations) insert(root, operation)
  return declared.flatMap((entry, index) => {
    const conflicts = [...idConflicts(entry, ids), ...requestConflicts(entry, shapes, root), ...bucketConflicts(entry)]
    ids.set(entry.id, `${entry.method} ${entry.template}`)
    if (conflicts.length === 0) {
      shapes.set(`${entry.method} ${shapeOf(entry.template)}`, entry.id)
      insert(root, toOperation(entry, oktaOperations.length + index))
    }
    return conflicts.map(conflict => ({ index, ...conflict }))
  })
}

type Conflict = Omit<DeclaredConflict, 'index'>

function idConflicts ({ id }: DeclaredOperation, ids: ReadonlyMap<string, string>): Conflict[] {
  if (!ID.test(id)) return [{ field: 'id', message: `the id "${id}" is not a letter followed by letters, digits and ._-` }]
  const taken = ids.get(id)
  return taken === undefined ? [] : [{ field: 'id', message: `the id ${id} is taken by ${taken}`, hint: 'choose another id' }]
}

function requestConflicts (entry: DeclaredOperation, shapes: ReadonlyMap<string, string>, root: TrieNode): Conflict[] {
  const { method, template } = entry
  const conflict = (message: string, hint?: string): Conflict[] => [{ field: 'request', message, hint }]
  if (!METHODS.includes(method)) return conflict(`${String(method)} is not one of ${METHODS.join(', ')}`)
  const taken = shapes.get(`${method} ${shapeOf(template)}`)
  if (taken !== undefined) return conflict(`${method} ${template} is the operation ${taken} already`, `leave it out and use operation: ${taken}`)
  const malformed = templateProblem(template)
  if (malformed !== undefined) return conflict(`the path ${template} is malformed: ${malformed}`)
  if (touchesOwnAccount(entry)) {
    return conflict(`${template} would touch the gate's own account: behind the gate, me and current are whoever holds its credential`,
      'only GET /api/v1/users/me may be declared')
  }
  const spelling = otherSpelling(root, template)
  if (spelling !== undefined) return conflict(`"${spelling[0]}" differs from the known segment "${spelling[1]}" in letter case alone`, `write ${spelling[1]}`)
  return []
}

function bucketConflicts ({ bucket }: DeclaredOperation): Conflict[] {
  if (bucket === undefined || BUCKET.test(bucket)) return []
  return [{ field: 'bucket', message: `"${bucket}" is not a bucket`, hint: 'write a path, e.g. /api/v1/apps, or methods and a path, e.g. GET /api/v1/apps/{id}' }]
}

function touchesOwnAccount ({ method, template }: DeclaredOperation): boolean {
  if (method === 'GET' && template === '/api/v1/users/me') return false
  return template.split('/').some(segment => OWN_ACCOUNT.test(segment))
}

/** How Okta treats letter case in a path is not established: two spellings would be two rules for one endpoint. */
function otherSpelling (root: TrieNode, template: string): readonly [string, string] | undefined {
  let node: TrieNode | undefined = root
  for (const { kind, name } of parseTemplate(template)) {
    if (node === undefined) return undefined
    const other: string | undefined = kind === 'literal' ? node.otherSpelling(name) : undefined
    if (other !== undefined) return [name, other]
    node = kind === 'literal' ? node.literals.get(name) : node.parameter
  }
  return undefined
}

/**
 * A declared operation as the catalogue holds it: any credential, no scope that Narrowgate could ask for.
 *
 * @throws when the template is malformed
 */
export function toOperation (entry: DeclaredOperation, index: number): Operation {
  const segments = parseTemplate(entry.template)
  return {
    index,
    id: entry.id,
    method: entry.method,
    template: entry.template,
    segments,
    parameters: segments.filter(segment => segment.kind === 'parameter').map(segment => segment.name),
    aliases: [],
    query: entry.query,
    scopes: [],
    allScopesRequired: false,
    apiToken: true,
    oauth: true,
    anonymous: false,
    bucket: entry.bucket ?? bucketOf(entry.method, entry.template),
    source: 'declared',
    requestTypes: [],
    reserved: false
  }
}
