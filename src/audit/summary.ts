import type { AuditEvent } from '../domain/event.js'
import type { Timing } from './lines.js'

/** How long events of one kind and source are collected into one. */
const WINDOW_MS = 10_000
/** Sources that are collected for at once; all others are collected together. */
const MOST_SOURCES = 1_000

/** Puts events of a flood together. */
export interface Summary {
  /** true: taken, and part of an event that follows; false: the first of its window, which stands alone */
  take (event: AuditEvent): boolean
  /** Hands out what is collected. */
  flush (): void
  /** events that are part of another one's `count` */
  readonly folded: number
}

/**
 * Of a source that does the same again and again, the first event of ten seconds stands alone and the others become
 * one, with their number: who guesses a thousand keys a second does not fill the log.
 *
 * @param emit takes the event that stands for several
 * @param mayEmit false: there is no room for it; it is collected on
 */
export function createSummary (timing: Timing, emit: (event: AuditEvent) => void, mayEmit: () => boolean = () => true): Summary {
  const open = new Map<string, { last: AuditEvent | undefined, count: number }>()
  let folded = 0
  const end = (key: string): void => {
    const window = open.get(key)
    open.delete(key)
    if (window?.last === undefined) return
    folded += window.count - 1
    emit(window.count === 1 ? window.last : { ...window.last, count: window.count })
  }
  const wait = (key: string): void => {
    timing.later(() => {
      if (mayEmit()) end(key)
      else wait(key)
    }, WINDOW_MS)
  }
  return {
    take (event) {
      const one = `${event.reason} ${event.source}`
      const key = open.has(one) || open.size < MOST_SOURCES ? one : `${event.reason}`
      const window = open.get(key)
      if (window === undefined) {
        open.set(key, { last: undefined, count: 0 })
        wait(key)
        return false
      }
      window.last = event
      window.count++
      return true
    },
    flush () { for (const key of [...open.keys()]) end(key) },
    get folded () { return folded }
  }
}
