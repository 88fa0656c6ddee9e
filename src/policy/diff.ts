import type { CallBody } from '../domain/decision.js'
import type { Operation } from '../domain/operation.js'
import { addressBytes, isCidrProblem, parseCidr } from '../domain/cidr.js'
import type { CompiledPolicy } from './compile.js'
import { diffOperation, type OperationChange, type Side } from './diff-operation.js'
import type { PolicySet } from './load.js'

/** A change of a client that is no change of an operation. */
export interface ClientChange {
  readonly kind: 'widened' | 'narrowed' | 'changed'
  readonly what: string
}

/** What became of one client. */
export interface ClientDiff {
  readonly client: string
  readonly status: 'added' | 'removed' | 'changed'
  readonly changes: readonly ClientChange[]
  readonly operations: readonly OperationChange[]
}

/** Clients that differ, by name; those that do not are left out. */
export function diffPolicies (before: PolicySet, after: PolicySet): ClientDiff[] {
  const clients = [...new Set([...before.clients.keys(), ...after.clients.keys()])].sort()
  return clients.flatMap(client => {
    const diff = diffClient(client, before, after)
    return diff.status === 'changed' && diff.changes.length === 0 && diff.operations.length === 0 ? [] : [diff]
  })
}

function diffClient (client: string, before: PolicySet, after: PolicySet): ClientDiff {
  const [old, now] = [before.clients.get(client), after.clients.get(client)]
  const bothObserve = old?.mode === 'observe' && now?.mode === 'observe'
  const oldSide: Side | undefined = old === undefined ? undefined : { policy: old, catalog: before.catalog, observe: bothObserve }
  const newSide: Side | undefined = now === undefined ? undefined : { policy: now, catalog: after.catalog, observe: bothObserve }
  const bodies = [...testBodies(before, old), ...testBodies(after, now)]
  const operations = concerned(old, now).flatMap(operation => diffOperation(oldSide, newSide, operation, bodies))
  const kept = old?.mode === 'observe' && now?.mode === 'enforce' ? operations.filter(({ kind }) => kind !== 'lost' && kind !== 'narrowed') : operations
  return {
    client,
    status: old === undefined ? 'added' : now === undefined ? 'removed' : 'changed',
    changes: old === undefined || now === undefined ? newcomer(now) : [...clientChanges(old, now), ...keyChanges(keysOf(before, old), keysOf(after, now))],
    operations: kept
  }
}

/** Operations that a rule or a deny of either names, in the order of the new catalogue. */
function concerned (old: CompiledPolicy | undefined, now: CompiledPolicy | undefined): Operation[] {
  const shapes = [now, old].flatMap(policy => policy === undefined ? [] : [...policy.allow.shapes, ...policy.deny.shapes])
  const found = new Map<string, Operation>()
  for (const { operation } of shapes) {
    const key = `${operation.method} ${operation.template.replace(/\{[^{}]*\}/g, '{}')}`
    if (!found.has(key)) found.set(key, operation)
  }
  return [...found.values()].sort((a, b) => a.index - b.index)
}

/** Bodies that somebody thought of as typical, or as a near miss. */
function testBodies (set: PolicySet, policy: CompiledPolicy | undefined): CallBody[] {
  const file = policy === undefined ? undefined : set.written?.get(policy.file)
  const tests = file?.kind === 'policy' ? file.value.tests ?? [] : []
  return tests.flatMap(test => Object.hasOwn(test, 'body') ? [{ kind: 'json' as const, value: test.body }] : [])
}

/** As written: compiled keys of some kinds hold functions and places. */
function keysOf (set: PolicySet, policy: CompiledPolicy): string[] {
  const file = set.written?.get(policy.file)
  return file?.kind === 'policy' ? file.value.authenticate.map(entry => JSON.stringify(entry)) : []
}

function newcomer (policy: CompiledPolicy | undefined): ClientChange[] {
  return policy?.mode === 'observe' ? [OBSERVED] : []
}

const OBSERVED: ClientChange = { kind: 'widened', what: 'mode: observe: every operation of the catalogue goes through, but for what a deny refuses' }

function clientChanges (old: CompiledPolicy, now: CompiledPolicy): ClientChange[] {
  const changes: ClientChange[] = []
  if (old.mode !== now.mode) changes.push(now.mode === 'observe' ? OBSERVED : { kind: 'narrowed', what: 'mode: enforce: what no rule admits is refused from now on' })
  if (old.upstream !== now.upstream) changes.push({ kind: 'widened', what: `upstream: calls go to "${now.upstream}" instead of "${old.upstream}"` })
  changes.push(...networkChanges(old.networks, now.networks), ...expiryChanges(old.expiresAt, now.expiresAt))
  if (old.share !== now.share) changes.push({ kind: 'changed', what: `rateLimit: a share of ${percent(now.share)} instead of ${percent(old.share)}` })
  return changes
}

const percent = (share: number) => `${Math.round(share * 10_000) / 100}%`

function networkChanges (old: readonly string[] | undefined, now: readonly string[] | undefined): ClientChange[] {
  if (now === undefined) return old === undefined ? [] : [{ kind: 'widened', what: 'networks: any address instead of a list' }]
  if (old === undefined) return [{ kind: 'narrowed', what: `networks: only ${now.join(', ')}` }]
  const added = now.filter(each => !old.some(other => contains(other, each)))
  const removed = old.filter(each => !now.some(other => contains(other, each)))
  return [
    ...added.length > 0 ? [{ kind: 'widened' as const, what: `networks: ${added.join(', ')} added` }] : [],
    ...removed.length > 0 ? [{ kind: 'narrowed' as const, what: `networks: ${removed.join(', ')} removed` }] : []
  ]
}

/** Whether the first network holds all of the second. */
function contains (first: string, second: string): boolean {
  const [a, b] = [parseCidr(first), parseCidr(second)]
  if (isCidrProblem(a) || isCidrProblem(b)) return first === second
  if (a.family !== b.family || a.prefix > b.prefix) return false
  const [base, inner] = [addressBytes(a.address)!, addressBytes(b.address)!]
  for (let bit = 0; bit < a.prefix; bit++) {
    const mask = 0x80 >> (bit & 7)
    if ((base[bit >> 3]! & mask) !== (inner[bit >> 3]! & mask)) return false
  }
  return true
}

function expiryChanges (old: number | undefined, now: number | undefined): ClientChange[] {
  if (old === now) return []
  const day = (end: number) => new Date(end - 1).toISOString().slice(0, 10)
  if (now === undefined) return [{ kind: 'widened', what: 'expires: never' }]
  return [{ kind: old !== undefined && now > old ? 'widened' : 'narrowed', what: `expires: ${day(now)}${old === undefined ? '' : ` instead of ${day(old)}`}` }]
}

/** Keys come and go as they are rotated: worth a line, no second approval. */
function keyChanges (before: readonly string[], after: readonly string[]): ClientChange[] {
  const added = after.filter(each => !before.includes(each)).length
  const removed = before.filter(each => !after.includes(each)).length
  return added + removed === 0 ? [] : [{ kind: 'changed', what: `authenticate: ${added} added, ${removed} removed` }]
}
