import type { PolicyFile, SetFile } from './schema.js'
import type { YamlFile } from './yaml.js'

/** A policy file as it was written: its values, and through `yaml` the place of each and its comments. */
export interface WrittenPolicy {
  readonly kind: 'policy'
  /** relative to the policies folder; the `file` of rule ids */
  readonly name: string
  readonly yaml: YamlFile
  readonly value: PolicyFile
}

/** A set as it was written. */
export interface WrittenSet {
  readonly kind: 'set'
  readonly name: string
  readonly yaml: YamlFile
  readonly value: SetFile
}

export type WrittenFile = WrittenPolicy | WrittenSet

const DAY_MS = 86_400_000

/**
 * A date of a policy file. It ends at 24:00 UTC.
 *
 * @returns the first epoch millisecond after that day; undefined when the calendar has no such day
 */
export function endOfDay (date: string): number | undefined {
  const start = startOfDay(date)
  return start === undefined ? undefined : start + DAY_MS
}

/** 0:00 UTC of a date. */
export function startOfDay (date: string): number | undefined {
  const time = Date.parse(`${date}T00:00:00Z`)
  return Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== date ? undefined : time
}
