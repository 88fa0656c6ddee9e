import type { AuditEvent } from '../domain/event.js'

/** Name and version of the line's format; what follows are AuditEvent's fields under their own names. */
export const EVENT_NAME = 'narrowgate.request'
export const EVENT_VERSION = 1

// What JSON can't hold as it is, and what some consumers of lines take for a line's end (RFC 8259 section 7; U+2028, U+2029).
const NEEDS_ESCAPE = /[^\x20-\x21\x23-\x5b\x5d-\x7e]/

/**
 * Makes a function that turns an AuditEvent into one JSON line, newline included. `time` is ISO 8601 with
 * milliseconds; fields that are undefined are left out. Written field by field into one text: pino's serialiser
 * was measured at ten times the cost on this road (docs/performance.md), and the line has no level and no message.
 */
export function createPlainLines (): (event: AuditEvent) => string {
  const time = isoTime()
  const start = `{"event":"${EVENT_NAME}","version":${EVENT_VERSION},"time":"`
  return event => {
    let line = start + time(event.time) + '","id":' + quote(event.id) + ',"outcome":"' + event.outcome + '","stage":"' + event.stage + '","method":' + quote(event.method)
    line += text(',"path":', event.path) + list(',"queryNames":', event.queryNames) + ',"source":' + quote(event.source)
    line += text(',"client":', event.client) + text(',"keyId":', event.keyId) + text(',"authentication":', event.authentication)
    line += text(',"operation":', event.operation) + text(',"rule":', event.rule) + text(',"ruleId":', event.ruleId)
    line += text(',"decision":', event.decision) + text(',"reason":', event.reason) + text(',"wouldDeny":', event.wouldDeny) + text(',"detail":', event.detail)
    line += list(',"bodyPaths":', event.bodyPaths) + text(',"upstream":', event.upstream) + text(',"credential":', event.credential) + text(',"bucket":', event.bucket)
    line += plain(',"status":', event.status) + plain(',"upstreamStatus":', event.upstreamStatus) + text(',"oktaRequestId":', event.oktaRequestId)
    line += plain(',"truncated":', event.truncated) + plain(',"resent":', event.resent)
    line += ',"bytesIn":' + event.bytesIn + ',"bytesOut":' + event.bytesOut + ',"durationMs":' + event.durationMs
    return line + plain(',"upstreamMs":', event.upstreamMs) + text(',"policy":', event.policy) + '}\n'
  }
}

/** What stands in the log where events had to be dropped: how many, and until when. */
export function gapLine (dropped: number, now: number): string {
  return `${JSON.stringify({ event: 'narrowgate.gap', version: EVENT_VERSION, time: new Date(now).toISOString(), dropped })}\n`
}

function text (key: string, value: string | undefined): string {
  return value === undefined ? '' : key + quote(value)
}

function plain (key: string, value: number | boolean | undefined): string {
  return value === undefined ? '' : key + value
}

function list (key: string, values: readonly string[] | undefined): string {
  return values === undefined ? '' : key + '[' + values.map(quote).join(',') + ']'
}

function quote (value: string): string {
  return NEEDS_ESCAPE.test(value) ? JSON.stringify(value) : '"' + value + '"'
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
