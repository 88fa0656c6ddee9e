import type { AuditEvent } from '../domain/event.js'
import type { CompiledPolicy } from './compile.js'

/** A rule that no call has needed. */
export interface UnusedRule {
  readonly client: string
  readonly rule: string
  readonly name: string
  readonly operation: string
  /** epoch milliseconds of the last call before the days that were asked about */
  readonly lastUsed?: number
}

export interface Usage {
  readonly unused: readonly UnusedRule[]
  readonly rules: number
  readonly days: number
  /** epoch milliseconds of the oldest event: what lies before it is not known */
  readonly since?: number
  readonly events: number
}

export interface UsageCounter {
  add (event: AuditEvent): void
  usage (): Usage
}

const DAY_MS = 86_400_000

/**
 * Finds rules that are granted and not used. An event of another version of the policy counts for the rule of the same
 * operation and name: rule ids are positions, and move.
 *
 * @param days how far back a use counts
 * @param now epoch milliseconds
 */
export function createUsageCounter (policies: readonly CompiledPolicy[], days: number, now: number): UsageCounter {
  const byId = new Map<string, CompiledPolicy>(policies.map(policy => [policy.client, policy]))
  const last = new Map<string, number>()
  let since: number | undefined
  let events = 0
  const note = (key: string, time: number) => { last.set(key, Math.max(last.get(key) ?? 0, time)) }
  return {
    add (event) {
      since = Math.min(since ?? event.time, event.time)
      events++
      const policy = event.client === undefined ? undefined : byId.get(event.client)
      if (policy === undefined || event.ruleId === undefined || event.decision !== 'allow' || event.wouldDeny !== undefined) return
      if (event.policy === policy.hash) note(`${policy.client}\0${event.ruleId}`, event.time)
      else note(`${policy.client}\0${event.operation}\0${event.rule}`, event.time)
    },
    usage () {
      const rules = policies.flatMap(policy => policy.allow.shapes.map((shape, i) => ({ client: policy.client, rule: policy.allow.id(i), name: shape.name, operation: shape.operation.id })))
      const used = rules.map(rule => ({ ...rule, lastUsed: later(last.get(`${rule.client}\0${rule.rule}`), last.get(`${rule.client}\0${rule.operation}\0${rule.name}`)) }))
      return { unused: used.filter(rule => rule.lastUsed === undefined || rule.lastUsed < now - days * DAY_MS), rules: rules.length, days, since, events }
    }
  }
}

function later (a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? a ?? b : Math.max(a, b)
}
