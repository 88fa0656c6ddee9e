/**
 * Writes data/*.json from the project's collection of Okta facts. A build-time tool, never loaded by the gate:
 *
 *     npm run build && node dist/okta/generate.js /work/shared/okta src/okta/data
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { bucketTable, type BucketFile, type BucketRow, type OrgType } from './bucket-table.js'
import { authnIds } from './data/authn-ids.js'
import type { OperationFile, OperationRow } from './operations.js'
import type { Entitlement, PermissionFile } from './permissions.js'
import { shapeOf } from './template.js'

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const
type Method = typeof METHODS[number]

/** An operation as the fact files write it. */
interface SourceOperation {
  method: string
  path: string
  operationId: string
  scopes: string[]
  ssws: boolean
  oauth: boolean
  noAuth?: boolean
  scopesAllRequired?: boolean
  query?: string[]
  requestTypes: string[]
  server?: string
  bucket?: string
  permissions?: string[]
  adminRoles?: string[]
}
interface AuthnOperation { method: string, path: string, bodyKeys: string[] }
interface SourceBucket { bucket: string, methods: string[], match: string, perMinute: Record<OrgType, number | null> }
interface Finding { value: string[] | string, certainty: string, source: string[], note?: string }
interface ListEntry {
  listed: { name: string }
  real: { method: string, path: string }[]
  customRolePermission: Finding
  leastStandardRole: Finding
}

/** The fact files, parsed. */
export interface Sources {
  operations: { meta: { source: string }, operations: SourceOperation[] }
  authn: { operations: AuthnOperation[] }
  oauth: { meta: { source: string }, operations: SourceOperation[] }
  limits: { meta: { warning: string }, matching: { unlimited: string[] }, buckets: SourceBucket[] }
  endpoints: { meta: { source: string }, endpoints: { method: string, path: string, bucket: string }[] }
  permissions: Pick<PermissionFile, 'standardRoles' | 'permissions'>
  list: { operations: ListEntry[] }
}

/**
 * Lowest org limits where Okta published none, calls per minute: what rate-limits.json notes beside the bucket.
 * A recording of a 50% credential counts double; one whose share is not told counts as it stands.
 */
const SEEN: Readonly<Record<string, number>> = {
  '/api/v1/orgs': 10,
  '/api/v1/agentPools': 20,
  '/api/v1/domains': 30,
  '/api/v1/device-assurances': 50,
  '/api/v1/push-providers': 50,
  '/api/v1/identity-sources/{id}/sessions': 15
}

/** Okta's bucket names hold `{id:.+}`; ours do not. */
function plain (bucket: string): string {
  return bucket.replace(/:\.\+\}/g, '}')
}

/** buckets.json: figures, and the endpoints that count elsewhere than their longest prefix says. */
export function bucketFile ({ limits, endpoints }: Sources): BucketFile {
  const exact = limits.buckets.filter(row => row.match === 'exact')
  const isSplit = (path: string): boolean => exact.filter(row => shapeOf(row.bucket) === shapeOf(path)).length > 1
  const rows = limits.buckets.map((row): BucketRow => {
    const path = plain(row.bucket)
    return {
      bucket: row.match === 'exact' && isSplit(row.bucket) ? `${row.methods.join(',')} ${path}` : path,
      match: row.match === 'exact' ? 'exact' : 'prefix',
      methods: row.methods,
      perMinute: Object.values(row.perMinute).includes(null) ? undefined : row.perMinute as Record<OrgType, number>,
      seen: SEEN[path]
    }
  })
  const unlimited = limits.matching.unlimited.map((bucket): BucketRow => ({ bucket, match: 'exact', methods: ['GET'], unlimited: true }))
  const buckets = [...rows, ...unlimited]
  return {
    source: `${endpoints.meta.source}; ${limits.meta.warning}`,
    buckets,
    endpoints: exceptions(buckets, endpoints.endpoints)
  }
}

function exceptions (buckets: readonly BucketRow[], endpoints: Sources['endpoints']['endpoints']): [string, string, string][] {
  const table = bucketTable({ buckets, endpoints: [] })
  return endpoints.flatMap(({ method, path, bucket }): [string, string, string][] => {
    if (!isMethod(method)) return []
    const shape = path.replace(/(?<=\/)ID(?=\/|$)/g, '{}')
    const found = table.find(method, shape)
    return found.replace(/^[A-Z,]+ /, '') === plain(bucket) ? [] : [[method, shape, plain(bucket)]]
  })
}

/** operations.json, in the order: management, /authn, OAuth. */
export function operationFile (sources: Sources, buckets: BucketFile): OperationFile {
  const table = bucketTable(buckets)
  const rows = [
    ...sources.operations.operations.map(operation => managementRow(operation)),
    ...sources.authn.operations.map(authnRow),
    ...sources.oauth.operations.filter(isForMachines).map((operation): Omit<OperationRow, 'bucket'> => ({ ...managementRow(operation), from: 'oauth' }))
  ]
  return {
    source: `${sources.operations.meta.source}; ${sources.oauth.meta.source}; /authn ids are Narrowgate's own`,
    operations: rows.map(row => ({ ...row, bucket: table.find(row.method, row.path) }))
  }
}

function isForMachines (operation: SourceOperation): boolean {
  if (!isMethod(operation.method)) return false
  if (operation.method === 'POST' && operation.path === '/oauth2/v1/token') return true
  return (operation.ssws || operation.oauth) && !operation.scopes.includes('openid')
}

function managementRow (operation: SourceOperation): Omit<OperationRow, 'bucket'> {
  return {
    id: operation.operationId,
    method: asMethod(operation.method),
    path: operation.path,
    query: some(operation.query),
    scopes: some(operation.scopes),
    allScopes: operation.scopesAllRequired,
    ssws: operation.ssws || undefined,
    oauth: operation.oauth || undefined,
    anonymous: operation.noAuth,
    types: some(operation.requestTypes),
    reserved: reservedBecause(operation)
  }
}

function reservedBecause ({ method, path, server }: SourceOperation): string | undefined {
  if (server !== undefined) return `Okta serves it on another host (${server}), to which the gate does not forward`
  if (path === '/api/v1/api-tokens/current') return 'it would revoke the gate\'s own token'
  if (method === 'POST' && path === '/oauth2/v1/token') return 'it is the gate\'s own token endpoint'
  return undefined
}

function authnRow (operation: AuthnOperation): Omit<OperationRow, 'bucket'> {
  const id = authnIds.get(`${operation.method} ${operation.path}`)
  if (id === undefined) throw new Error(`no id for ${operation.method} ${operation.path}: add one to data/authn-ids.ts`)
  return {
    id,
    method: asMethod(operation.method),
    path: operation.path,
    from: 'authn',
    // The fact file marks query parameters among the body's keys with a question mark.
    query: some(operation.bodyKeys.filter(key => key.startsWith('?')).map(key => key.slice(1))),
    ssws: true,
    anonymous: true,
    types: operation.method === 'POST' ? ['application/json'] : undefined,
    aliases: operation.path === '/api/v1/authn' ? ['/api/v1/authn/'] : undefined
  }
}

/** permissions.json: the catalogue of permissions, and what is known of each operation. */
export function permissionFile (sources: Sources, operations: OperationFile): PermissionFile {
  const ids = new Map(operations.operations.map(row => [`${row.method} ${shapeOf(row.path)}`, row.id]))
  // An operation that Okta no longer documents has no id: its request line stands for it.
  const idOf = ({ method, path }: { method: string, path: string }): string => ids.get(`${method} ${shapeOf(path)}`) ?? `${method} ${path}`
  return {
    standardRoles: sources.permissions.standardRoles,
    permissions: sources.permissions.permissions,
    listed: sources.list.operations.flatMap(entry => entry.real.map(real => entitlement(idOf(real), entry))),
    specified: sources.operations.operations
      .filter(operation => operation.permissions !== undefined || operation.adminRoles !== undefined)
      .map(operation => ({ operation: idOf(operation), permissions: operation.permissions, roles: operation.adminRoles }))
  }
}

function entitlement (operation: string, { listed, customRolePermission, leastStandardRole }: ListEntry): Entitlement {
  return {
    operation,
    use: listed.name,
    permissions: { ...customRolePermission, value: [customRolePermission.value].flat() },
    role: { ...leastStandardRole, value: [leastStandardRole.value].flat().join(', ') }
  } as Entitlement
}

/** JSON with one entry of each list a line, so that a diff shows what changed. */
export function render (file: object): string {
  const members = Object.entries(file).map(([key, value]) => {
    const text = Array.isArray(value) ? `[\n${value.map(entry => JSON.stringify(entry)).join(',\n')}\n]` : JSON.stringify(value)
    return `${JSON.stringify(key)}: ${text}`
  })
  return `{\n${members.join(',\n')}\n}\n`
}

function isMethod (method: string): method is Method {
  return (METHODS as readonly string[]).includes(method)
}

function asMethod (method: string): Method {
  if (!isMethod(method)) throw new Error(`the gate knows no ${method} operations`)
  return method
}

function some (list: readonly string[] | undefined): readonly string[] | undefined {
  return list === undefined || list.length === 0 ? undefined : list
}

function main (from: string, to: string): void {
  const read = (name: string): never => JSON.parse(readFileSync(join(from, name), 'utf8')) as never
  const sources: Sources = {
    operations: read('operations.json'),
    authn: read('operations-authn.json'),
    oauth: read('operations-oauth.json'),
    limits: read('rate-limits.json'),
    endpoints: read('rate-limit-endpoint-map.json'),
    permissions: read('permissions.json'),
    list: read('operation-list.json')
  }
  const buckets = bucketFile(sources)
  const operations = operationFile(sources, buckets)
  const files = { 'buckets.json': buckets, 'operations.json': operations, 'permissions.json': permissionFile(sources, operations) }
  for (const [name, file] of Object.entries(files)) writeFileSync(join(to, name), render(file))
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [from, to] = process.argv.slice(2)
  if (from === undefined || to === undefined) {
    process.stderr.write('usage: generate FACTS-DIRECTORY DATA-DIRECTORY\n')
    process.exitCode = 2
  } else {
    main(from, to)
  }
}
