import type { AuditEvent, Outcome } from '../domain/event.js'
import { SEVERITY, severityOf, type SeverityName } from './meaning.js'

/** Which events a sink takes; each list that is given has to hold the event's value. */
export interface Filter {
  readonly outcomes?: readonly Outcome[]
  readonly clients?: readonly string[]
  readonly operations?: readonly string[]
  readonly methods?: readonly string[]
  readonly minSeverity?: SeverityName
}

/**
 * Makes a predicate of a filter. What comes before a request's end (an intent, an `open`) is judged by everything but
 * outcome and severity; a sink that chooses by those has no intents.
 */
export function createFilter (filter: Filter): (event: AuditEvent) => boolean {
  const lists = [
    listed(filter.clients, event => event.client),
    listed(filter.operations, event => event.operation),
    listed(filter.methods, event => event.method)
  ].filter(test => test !== undefined)
  const outcomes = listed(filter.outcomes, event => event.outcome)
  const least = filter.minSeverity === undefined ? 0 : SEVERITY[filter.minSeverity]
  return event => {
    for (const test of lists) if (!test(event)) return false
    if (event.phase !== undefined) return outcomes === undefined && least <= SEVERITY.informational
    return (outcomes === undefined || outcomes(event)) && severityOf(event) >= least
  }
}

function listed (values: readonly string[] | undefined, read: (event: AuditEvent) => string | undefined): ((event: AuditEvent) => boolean) | undefined {
  if (values === undefined) return undefined
  const set = new Set(values)
  return event => { const value = read(event); return value !== undefined && set.has(value) }
}
