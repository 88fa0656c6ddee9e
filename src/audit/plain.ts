import type { AuditEvent, Resource } from '../domain/event.js'
import { isoTime, list, plain, quote, text } from './text.js'

/** Name and version of the line's format; what follows are AuditEvent's fields under their own names. */
export const EVENT_NAME = 'narrowgate.request'
export const EVENT_VERSION = 1

/** Lines of other names: what came before the request's end. */
const NAMES = { intent: 'narrowgate.intent', open: 'narrowgate.open' } as const

/**
 * Makes a function that turns an AuditEvent into one JSON line, newline included. `time` is ISO 8601 with
 * milliseconds; fields that are undefined are left out. Written field by field into one text: pino's serialiser
 * was measured at ten times the cost on this road (docs/performance.md), and the line has no level and no message.
 */
export function createPlainLines (): (event: AuditEvent) => string {
  const time = isoTime()
  return event => {
    let line = '{"event":"' + (event.phase === undefined ? EVENT_NAME : NAMES[event.phase]) + '","version":' + EVENT_VERSION + ',"time":"'
    line += time(event.time) + '","id":' + quote(event.id) + text(',"phase":', event.phase) + ',"outcome":"' + event.outcome + '","stage":"' + event.stage + '","method":' + quote(event.method)
    line += text(',"path":', event.path) + list(',"queryNames":', event.queryNames) + ',"source":' + quote(event.source)
    line += text(',"client":', event.client) + text(',"keyId":', event.keyId) + text(',"authentication":', event.authentication)
    line += text(',"operation":', event.operation) + resources(event.resources) + text(',"rule":', event.rule) + text(',"ruleId":', event.ruleId)
    line += text(',"decision":', event.decision) + text(',"reason":', event.reason) + text(',"wouldDeny":', event.wouldDeny) + text(',"detail":', event.detail)
    line += list(',"bodyPaths":', event.bodyPaths) + text(',"upstream":', event.upstream) + text(',"credential":', event.credential) + text(',"bucket":', event.bucket)
    line += plain(',"status":', event.status) + plain(',"upstreamStatus":', event.upstreamStatus) + text(',"oktaRequestId":', event.oktaRequestId)
    line += plain(',"truncated":', event.truncated) + plain(',"resent":', event.resent) + plain(',"count":', event.count)
    line += ',"bytesIn":' + event.bytesIn + ',"bytesOut":' + event.bytesOut + ',"durationMs":' + event.durationMs
    return line + plain(',"upstreamMs":', event.upstreamMs) + text(',"policy":', event.policy) + text(',"traceId":', event.traceId) + '}\n'
  }
}

function resources (values: readonly Resource[] | undefined): string {
  if (values === undefined) return ''
  return ',"resources":[' + values.map(({ kind, id }) => '{"kind":' + quote(kind) + ',"id":' + quote(id) + '}').join(',') + ']'
}

/** What stands in the log where events had to be dropped: how many, and until when. */
export function gapLine (dropped: number, now: number): string {
  return `${JSON.stringify({ event: 'narrowgate.gap', version: EVENT_VERSION, time: new Date(now).toISOString(), dropped })}\n`
}
