import type { CredentialKind } from '../domain/decision.js'
import type { Operation } from '../domain/operation.js'
import type { CompiledPolicy } from './compile.js'

/** An operation that some rule lets through, and what it goes out with. */
export interface NeededOperation {
  readonly client: string
  readonly upstream: string
  readonly operation: Operation
  readonly credential: CredentialKind
  /** id of the first rule that needs it */
  readonly rule: string
}

/**
 * Which operations the policies need, each once per client and credential: what `scopes: auto` and `entitlements`
 * are made of. An operation that a deny without conditions refuses altogether is not needed.
 */
export function * neededOperations (policies: Iterable<CompiledPolicy>): Generator<NeededOperation> {
  for (const policy of policies) {
    const seen = new Set<string>()
    for (const [position, { operation, credential }] of policy.allow.shapes.entries()) {
      const key = `${operation.index} ${credential}`
      if (seen.has(key) || isDenied(policy, operation)) continue
      seen.add(key)
      yield { client: policy.client, upstream: policy.upstream, operation, credential, rule: policy.allow.id(position) }
    }
  }
}

/** True when a deny refuses every call of the operation. */
export function isDenied (policy: CompiledPolicy, operation: Operation): boolean {
  const group = policy.deny.group(operation.index)
  for (let i = policy.deny.start(group); i < policy.deny.end(group); i++) {
    const { where, query, body } = policy.deny.shapes[i]!
    if (where === undefined && query.kind === 'any' && body === undefined) return true
  }
  return false
}
