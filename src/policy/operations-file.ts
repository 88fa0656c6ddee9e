import type { Method } from '../domain/operation.js'
import type { Problem } from '../domain/problem.js'
import { declaredConflicts, type DeclaredOperation } from '../okta/declared.js'
import { parseRequestLine } from './request-line.js'
import { OperationsSchema, type OperationsFile } from './schema.js'
import { validate } from './validate.js'
import type { YamlFile } from './yaml.js'

/** What operations.yaml declares. Nothing, when there is anything wrong with it. */
export interface Declared {
  readonly operations: readonly DeclaredOperation[]
  readonly problems: readonly Problem[]
}

/** Reads operations.yaml: its schema, its request lines, and conflicts with Okta's own catalogue. */
export function readOperations (yaml: YamlFile): Declared {
  if (yaml.value === undefined) return { operations: [], problems: yaml.problems }
  const problems = validate(OperationsSchema, yaml.value).map(found => yaml.problem(found.path, found.message, found))
  if (problems.length > 0) return { operations: [], problems }
  const operations: DeclaredOperation[] = []
  for (const [i, entry] of (yaml.value as OperationsFile).operations.entries()) {
    const line = parseRequestLine(entry.request)
    const wrong = typeof line === 'string' ? line : line.query === undefined ? undefined : 'has a query: name its parameters under query'
    if (typeof line === 'string' || wrong !== undefined) problems.push(yaml.problem(['operations', i, 'request'], `"${entry.request}" ${wrong}`))
    else operations.push({ id: entry.id, method: line.method as Method, template: line.template, bucket: entry.bucket, query: entry.query ?? [] })
  }
  if (problems.length > 0) return { operations: [], problems }
  for (const conflict of declaredConflicts(operations)) {
    problems.push(yaml.problem(['operations', conflict.index, conflict.field], conflict.message, { hint: conflict.hint }))
  }
  if (problems.length > 0) return { operations: [], problems }
  return { operations, problems: ownAccount(operations, yaml) }
}

/** Behind the gate `me` is the gate, not the client that asks. */
function ownAccount (operations: readonly DeclaredOperation[], yaml: YamlFile): Problem[] {
  return operations.flatMap((operation, i) => operation.template.split('/').includes('me')
    ? [yaml.problem(['operations', i, 'request'], `${operation.method} ${operation.template} shows the gate's own account to every client that may call it`, { severity: 'warning' })]
    : [])
}
