import type { Finding } from './validate.js'

/** Lists whose entries are judged one by one; every other value counts as a whole. */
const ENTRIES: ReadonlySet<string> = new Set(['allow', 'deny'])
/** Without these an entry is about nothing. */
const SUBJECT: ReadonlySet<unknown> = new Set(['operation', 'request'])

/**
 * What is left of a file's value when everything that its schema complains about is taken out: so that what is wrong
 * with the rest is said in the same run. Entries of a list keep their places; refused ones are holes (`undefined`).
 */
export function soundParts (value: unknown, found: readonly Finding[]): Record<string, unknown> {
  const parts: Record<string, unknown> = {}
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return parts
  for (const [key, member] of Object.entries(value)) {
    const within = found.filter(({ path }) => path[0] === key)
    if (within.length === 0) parts[key] = member
    else if (ENTRIES.has(key) && Array.isArray(member)) parts[key] = member.map((entry, index) => soundEntry(entry, within.filter(({ path }) => path[1] === index)))
  }
  return parts
}

function soundEntry (entry: unknown, found: readonly Finding[]): unknown {
  if (found.length === 0) return entry
  if (typeof entry !== 'object' || entry === null || found.some(({ path }) => path.length < 3 || SUBJECT.has(path[2]))) return undefined
  return Object.fromEntries(Object.entries(entry).filter(([key]) => found.every(({ path }) => path[2] !== key)))
}
