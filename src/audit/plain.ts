import { pino } from 'pino'
import type { AuditEvent } from '../domain/event.js'

/** Name and version of the line's format; what follows are AuditEvent's fields under their own names. */
export const EVENT_NAME = 'narrowgate.request'
export const EVENT_VERSION = 1

/**
 * Makes a function that turns an AuditEvent into one JSON line, newline included. `time` is ISO 8601 with
 * milliseconds; fields that are undefined are left out. pino escapes what a client may have put into a path.
 */
export function createPlainLines (): (event: AuditEvent) => string {
  let line = ''
  const time = isoTime()
  const logger = pino({
    base: null,
    // The time of the event, not of the log call, is what counts: it is the event's first field.
    timestamp: false,
    // Takes the place of pino's level, which means nothing in an audit log; serialised once.
    formatters: { level: () => ({ event: EVENT_NAME, version: EVENT_VERSION }) },
    serializers: { time }
  }, { write (text: string) { line = text } })
  return event => {
    logger.info(event)
    return line
  }
}

/** What stands in the log where events had to be dropped: how many, and until when. */
export function gapLine (dropped: number, now: number): string {
  return `${JSON.stringify({ event: 'narrowgate.gap', version: EVENT_VERSION, time: new Date(now).toISOString(), dropped })}\n`
}

/** Many events begin in the same millisecond: the text is made once for them. */
function isoTime (): (ms: number) => string {
  let last = Number.NaN
  let text = ''
  return ms => {
    if (ms !== last) {
      text = new Date(ms).toISOString()
      last = ms
    }
    return text
  }
}
