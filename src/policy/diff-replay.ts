import type { AuditEvent } from '../domain/event.js'
import type { PolicySet } from './load.js'
import { judgeSeen, type Verdict } from './verdict.js'

/** Recorded calls of one method and path whose decision is another one under the new policies. */
export interface ReplayedChange {
  readonly client: string
  readonly method: string
  readonly path: string
  readonly queryNames: readonly string[]
  readonly before: Verdict
  readonly after: Verdict
  readonly calls: number
  /** epoch milliseconds of the last one */
  readonly last: number
}

export interface Replay {
  add (event: AuditEvent): void
  /** calls that change for certain, then those that may */
  changes (): readonly ReplayedChange[]
}

/**
 * Judges recorded calls by two sets of policies, as if both enforced. A log has no values: where the decision hangs on
 * one, the verdict is `unknown`, but for calls that the very policy has let through.
 */
export function createReplay (before: PolicySet, after: PolicySet): Replay {
  const found = new Map<string, ReplayedChange>()
  return {
    add (event) {
      const { client, method, path } = event
      // A request without a known client, or with a target that could not be read, never reaches a policy.
      if (client === undefined || path === undefined || event.operation === undefined) return
      const [old, now] = [verdict(before, client, event), verdict(after, client, event)]
      if (old === now) return
      const queryNames = event.queryNames ?? []
      const key = JSON.stringify([client, method, path, queryNames, old, now])
      const known = found.get(key)
      found.set(key, { client, method, path, queryNames, before: old, after: now, calls: (known?.calls ?? 0) + 1, last: Math.max(known?.last ?? 0, event.time) })
    },
    changes: () => [...found.values()].sort((a, b) => Number(isOpen(a)) - Number(isOpen(b)) || b.calls - a.calls)
  }
}

/** Whether a value that no log carries decides. */
export function isOpen ({ before, after }: ReplayedChange): boolean {
  return before === 'unknown' || after === 'unknown'
}

function verdict ({ clients, catalog }: PolicySet, client: string, event: AuditEvent): Verdict {
  const policy = clients.get(client)
  if (policy === undefined) return 'refused'
  if (event.policy === policy.hash && event.decision === 'allow') return event.wouldDeny === undefined ? 'admitted' : 'refused'
  return judgeSeen(policy, catalog, event)
}
