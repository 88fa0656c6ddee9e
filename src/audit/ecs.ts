import { isIP } from 'node:net'
import type { AuditEvent } from '../domain/event.js'
import { activityOf, eventId, severityOf, type Activity } from './meaning.js'
import type { Producer } from './ocsf.js'
import { createPlainLines } from './plain.js'
import { isoTime, plain, quote, text } from './text.js'

/** The version of the Elastic Common Schema whose field names the lines have. */
export const ECS_VERSION = '8.17.0'

/** event.type: ECS's allowed values for what a call does. */
const TYPES: Readonly<Record<Activity, string>> = { 1: 'creation', 2: 'access', 3: 'change', 4: 'deletion', 99: 'info' }

/**
 * Makes a function that turns an AuditEvent into one line of the Elastic Common Schema, newline included; the whole
 * event under its own names is in `narrowgate`, last, where the hash chain is added.
 */
export function createEcsLines ({ version, gate }: Producer): (event: AuditEvent) => string {
  const time = isoTime()
  const own = createPlainLines()
  const fixed = `"ecs":{"version":"${ECS_VERSION}"},"observer":{"vendor":"Narrowgate","product":"Narrowgate","type":"proxy","name":${quote(gate)},"version":${quote(version)}},"event":{"kind":"event","module":"narrowgate","dataset":"narrowgate.audit","id":`
  return event => {
    const { outcome, phase, decision } = event
    const success = outcome === 'allowed' ? 'success' : outcome === 'pending' || outcome === 'unknown' ? 'unknown' : 'failure'
    let line = '{"@timestamp":"' + time(event.time) + '",' + fixed + quote(eventId(event)) + ',"action":' + quote(event.operation ?? 'unknown') + ',"category":["web","iam"],"type":["' + TYPES[activityOf(event.method, event.operation)] + '"'
    line += (decision === undefined ? '' : decision === 'allow' ? ',"allowed"' : ',"denied"') + '],"outcome":"' + success + '","code":"' + (phase ?? outcome) + '","severity":' + severityOf(event) + text(',"reason":', event.reason)
    line += ',"duration":' + Math.round(event.durationMs * 1e6) + '}'
    line += isIP(event.source) === 0 ? '' : ',"source":{"ip":' + quote(event.source) + '}'
    line += ',"http":{"request":{"id":' + quote(event.id) + ',"method":' + quote(event.method) + ',"body":{"bytes":' + event.bytesIn + '}}'
    line += event.status === undefined ? '}' : ',"response":{"status_code":' + event.status + ',"body":{"bytes":' + event.bytesOut + '}}}'
    line += event.path === undefined ? '' : ',"url":{"path":' + quote(event.path) + '}'
    line += event.client === undefined ? '' : ',"user":{"name":' + quote(event.client) + '}'
    line += event.ruleId === undefined ? '' : ',"rule":{"id":' + quote(event.ruleId) + text(',"name":', event.rule) + plain(',"version":', undefined) + '}'
    line += event.traceId === undefined ? '' : ',"trace":{"id":"' + event.traceId + '"}'
    return line + ',"narrowgate":' + own(event).slice(0, -1) + '}\n'
  }
}
