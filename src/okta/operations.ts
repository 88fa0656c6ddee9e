import type { Method, Operation } from '../domain/operation.js'
import file from './data/operations.json' with { type: 'json' }
import { parseTemplate } from './template.js'

/** One line of data/operations.json; what is absent is false or empty. */
export interface OperationRow {
  readonly id: string
  readonly method: Method
  readonly path: string
  readonly from?: 'authn' | 'oauth'
  readonly query?: readonly string[]
  readonly scopes?: readonly string[]
  readonly allScopes?: boolean
  readonly ssws?: boolean
  readonly oauth?: boolean
  readonly anonymous?: boolean
  readonly types?: readonly string[]
  readonly aliases?: readonly string[]
  /** why the gate keeps the operation for itself */
  readonly reserved?: string
  readonly bucket: string
}

/**
 * data/operations.json, written by generate.ts: Okta's management API, its /authn API and the part of its OAuth API
 * that a machine credential can call. Okta documents no operationId for /authn: ids that begin with `authn` and stand
 * under /api/v1/authn are Narrowgate's own. They are stable; policies may use them.
 */
export interface OperationFile {
  readonly source: string
  readonly operations: readonly OperationRow[]
}

const rows = (file as unknown as OperationFile).operations

/** Okta's operations in the order of the file; `index` is the position. */
export const oktaOperations: readonly Operation[] = rows.map(toOperation)

const reasons: ReadonlyMap<string, string> = new Map(rows.flatMap(row => row.reserved === undefined ? [] : [[row.id, row.reserved]]))

/** Why no policy may admit an operation whose `reserved` is true. */
export function reservedReason (operation: Operation): string | undefined {
  return operation.reserved ? reasons.get(operation.id) : undefined
}

function toOperation (row: OperationRow, index: number): Operation {
  const segments = parseTemplate(row.path)
  return {
    index,
    id: row.id,
    method: row.method,
    template: row.path,
    segments,
    parameters: segments.filter(segment => segment.kind === 'parameter').map(segment => segment.name),
    aliases: row.aliases ?? [],
    query: row.query ?? [],
    scopes: row.scopes ?? [],
    allScopesRequired: row.allScopes ?? false,
    apiToken: row.ssws ?? false,
    oauth: row.oauth ?? false,
    anonymous: row.anonymous ?? false,
    bucket: row.bucket,
    source: row.from ?? 'okta',
    requestTypes: row.types ?? [],
    reserved: row.reserved !== undefined
  }
}
