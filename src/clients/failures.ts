import { addressBytes } from '../domain/cidr.js'
import { reject, type Rejection } from '../domain/rejection.js'

/** Whoever counts failures; another process, perhaps. */
export interface FailureCount {
  /** As `Failures.failed`. A promise where another process counts; it never rejects. */
  failed (source: string, now: number): Rejection | undefined | Promise<Rejection | undefined>
}

/**
 * Sources whose authentication failed again and again. It slows noise down, it does not lock out:
 * only failures are shown to it, so a valid key from the same address always passes.
 */
export interface Failures extends FailureCount {
  /**
   * Notes one failed authentication.
   * @param source address that it came from
   * @param now epoch milliseconds
   * @returns `too_many_failures` while the source has to wait; undefined: answer the failure itself
   */
  failed (source: string, now: number): Rejection | undefined
  /** sources that are remembered */
  readonly size: number
}

interface Entry { count: number, last: number, until: number }

/** Failures that cost nothing: a client that is being set up. */
const FREE_FAILURES = 30
const FIRST_WAIT_MS = 1_000
const LONGEST_WAIT_MS = 300_000
/** A quiet source is forgotten after this time. */
const FORGET_MS = 900_000
const MAX_SOURCES = 10_000

/** Each failure past the free ones doubles the wait that follows it: 1 s, 2 s … 5 min. */
export function createFailures (maxSources: number = MAX_SOURCES): Failures {
  const entries = new Map<string, Entry>()

  return {
    get size () { return entries.size },
    failed (source, now) {
      const key = networkOf(source)
      const entry = current(entries.get(key), now)
      entries.delete(key)
      entries.set(key, entry)
      if (entries.size > maxSources) entries.delete(entries.keys().next().value!)
      if (now < entry.until) {
        return reject('too_many_failures', { wait: { untilMs: entry.until, limit: FREE_FAILURES, remaining: 0 } })
      }
      entry.count++
      entry.last = now
      if (entry.count >= FREE_FAILURES) {
        entry.until = now + Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (entry.count - FREE_FAILURES))
      }
      return undefined
    }
  }
}

/** The entry, or a fresh one when it is old, or when the clock went back behind it. */
function current (entry: Entry | undefined, now: number): Entry {
  const fresh = entry === undefined || now < entry.last || now - Math.max(entry.last, entry.until) > FORGET_MS
  return fresh ? { count: 0, last: now, until: 0 } : entry
}

/** What counts as one source: one host usually commands a whole IPv6 /64. @param source as canonicalAddress() gives it */
export function networkOf (source: string): string {
  if (!source.includes(':')) return source
  const bytes = addressBytes(source)
  return bytes === undefined ? source : Buffer.from(bytes.subarray(0, 8)).toString('hex')
}
