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

/** Which operations go out with a credential, each once for all policies: the same, without who needs them. */
export function operationsNeeded (policies: Iterable<CompiledPolicy>, credential: CredentialKind): readonly Operation[] {
  const found = new Map<number, Operation>()
  for (const policy of policies) {
    const { allow } = policy
    for (let group = 0; group < allow.groups; group++) {
      const first = allow.start(group)
      const { operation } = allow.shapes[first]!
      if (found.has(operation.index)) continue
      for (let i = first; i < allow.end(group); i++) {
        if (allow.shapes[i]!.credential !== credential) continue
        if (!isDenied(policy, operation)) found.set(operation.index, operation)
        break
      }
    }
  }
  return [...found.values()]
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
