import type { AuditEvent } from '../domain/event.js'
import type { Timing } from './lines.js'

/** How long refused guesses of a source are collected into one event. */
const WINDOW_MS = 10_000
/** Sources that are collected for at once; what others do is an event each. */
const MOST_SOURCES = 1_000

/** Puts refused guesses together; everything else passes at once. */
export interface Summary {
  /** true: taken, and part of an event that follows */
  take (event: AuditEvent): boolean
  /** Hands out what is collected. */
  flush (): void
  /** events that are part of another one's `count` */
  readonly folded: number
}

/**
 * Of a source that is being slowed down for its guesses, the first event of ten seconds stands alone and the others
 * become one, with their number: who guesses a thousand keys a second does not fill the log.
 *
 * @param emit takes the event that stands for several
 */
export function createSummary (timing: Timing, emit: (event: AuditEvent) => void): Summary {
  const open = new Map<string, { last: AuditEvent | undefined, count: number }>()
  let folded = 0
  const end = (source: string): void => {
    const window = open.get(source)
    open.delete(source)
    if (window?.last === undefined) return
    folded += window.count - 1
    emit(window.count === 1 ? window.last : { ...window.last, count: window.count })
  }
  return {
    take (event) {
      if (event.reason !== 'too_many_failures') return false
      const window = open.get(event.source)
      if (window === undefined) {
        if (open.size >= MOST_SOURCES) return false
        open.set(event.source, { last: undefined, count: 0 })
        timing.later(() => { end(event.source) }, WINDOW_MS)
        return false
      }
      window.last = event
      window.count++
      return true
    },
    flush () { for (const source of [...open.keys()]) end(source) },
    get folded () { return folded }
  }
}
