import { isIP } from 'node:net'
import type { AuditEvent, Outcome, Resource } from '../domain/event.js'
import { activityOf, dispositionOf, DISPOSITION, eventId, severityOf, type Activity, type Disposition } from './meaning.js'
import { list, plain, quote, text } from './text.js'

/** The version of OCSF whose class API Activity (6003) the lines have, with the profile security_control. */
export const OCSF_VERSION = '1.8.0'

/** What is the same in every event of a process. */
export interface Producer {
  /** the gate's version */
  readonly version: string
  /** which gate: the host's name */
  readonly gate: string
}

const ACTIVITIES: Readonly<Record<Activity, string>> = { 1: 'Create', 2: 'Read', 3: 'Update', 4: 'Delete', 99: 'Other' }
const SEVERITIES = ['Unknown', 'Informational', 'Low', 'Medium', 'High'] as const
const DISPOSITIONS: Readonly<Record<Disposition, string>> = { 0: 'Unknown', 1: 'Allowed', 2: 'Blocked', 17: 'Logged', 26: 'Unauthorized', 27: 'Error' }
const METHODS = new Set(['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'TRACE'])

/**
 * Makes a function that turns an AuditEvent into one line of OCSF, newline included. What the class has no place for
 * is under `unmapped`, AuditEvent's own names, which is also what makes the line readable back (parse.ts). `unmapped`
 * is last: the hash chain is added to it.
 */
export function createOcsfLines ({ version, gate }: Producer): (event: AuditEvent) => string {
  const metadata = `"metadata":{"version":"${OCSF_VERSION}","product":{"name":"Narrowgate","vendor_name":"Narrowgate","version":${quote(version)}},"profiles":["security_control"],"log_name":"narrowgate.audit","log_provider":${quote(gate)},"uid":`
  const heads = new Map<string, string>()
  return event => {
    const id = quote(event.id)
    const end = event.time + Math.round(event.durationMs)
    let line = head(heads, event) + event.time + ',"start_time":' + event.time
    if (event.phase === undefined && event.outcome !== 'unknown') line += ',"end_time":' + end + ',"duration":' + Math.round(event.durationMs)
    line += ',' + metadata + (event.phase === undefined ? id : quote(eventId(event))) + ',"correlation_uid":' + id + ',"event_code":"' + (event.phase ?? event.outcome) + '"}'
    line += text(',"status_code":', event.reason ?? event.status?.toString()) + text(',"status_detail":', event.detail) + plain(',"count":', event.count)
    line += actor(event) + api(event, id) + request(event, id) + response(event)
    line += isIP(event.source) === 0 ? ',"src_endpoint":{"name":"unknown"}' : ',"src_endpoint":{"ip":' + quote(event.source) + '}'
    if (event.upstream !== undefined) line += ',"dst_endpoint":{"svc_name":' + quote(event.upstream) + '}'
    if (event.resources !== undefined) line += ',"resources":[' + event.resources.map(resource).join(',') + ']'
    if (event.ruleId !== undefined) line += ',"firewall_rule":{"uid":' + quote(event.ruleId) + text(',"name":', event.rule) + '}'
    if (event.policy !== undefined) line += ',"policy":{"uid":' + quote(event.policy) + text(',"name":', event.client) + ',"version":' + quote(event.policy) + '}'
    if (event.decision !== undefined) line += ',"authorizations":[{"decision":"' + event.decision + '"}]'
    if (event.oktaRequestId !== undefined) line += enrichment(event.oktaRequestId)
    return line + unmapped(event)
  }
}

/** What depends on a few values only: made once for each combination. */
function head (heads: Map<string, string>, event: AuditEvent): string {
  const activity = activityOf(event.method, event.operation)
  const severity = severityOf(event)
  const disposition = dispositionOf(event)
  const status = statusOf(event)
  const key = `${activity} ${severity} ${disposition} ${status}`
  const known = heads.get(key)
  if (known !== undefined) return known
  const action = disposition === DISPOSITION.logged ? [3, 'Observed'] : disposition === DISPOSITION.allowed ? [1, 'Allowed'] : disposition === DISPOSITION.unknown ? [0, 'Unknown'] : [2, 'Denied']
  const made = `{"category_uid":6,"category_name":"Application Activity","class_uid":6003,"class_name":"API Activity","activity_id":${activity},"activity_name":"${ACTIVITIES[activity]}","type_uid":${600300 + activity},"type_name":"API Activity: ${ACTIVITIES[activity]}",` +
    `"severity_id":${severity},"severity":"${SEVERITIES[severity]}","status_id":${status},"status":"${['Unknown', 'Success', 'Failure'][status]}","action_id":${action[0]},"action":"${action[1]}","disposition_id":${disposition},"disposition":"${DISPOSITIONS[disposition]}","time":`
  heads.set(key, made)
  return made
}

const UNSURE: ReadonlySet<Outcome> = new Set(['pending', 'unknown'])

function statusOf ({ outcome, upstreamStatus }: AuditEvent): 0 | 1 | 2 {
  if (UNSURE.has(outcome)) return 0
  return outcome === 'allowed' && (upstreamStatus === undefined || upstreamStatus < 400) ? 1 : 2
}

function actor ({ client, keyId, authentication }: AuditEvent): string {
  if (client === undefined) return ',"actor":{"app_name":"unknown"}'
  const name = quote(client)
  return ',"actor":{"app_uid":' + name + ',"app_name":' + name + ',"user":{"uid":' + name + ',"name":' + name + ',"type_id":4,"type":"Service"' + text(',"credential_uid":', keyId) + '}' +
    (authentication === undefined ? '}' : ',"idp":{"name":"Narrowgate","protocol_name":' + quote(authentication) + '}}')
}

function api (event: AuditEvent, id: string): string {
  let made = ',"api":{"operation":' + quote(event.operation ?? 'unknown') + ',"request":{"uid":' + id + '}'
  if (event.status !== undefined || event.reason !== undefined) {
    const code = event.status === undefined ? '' : '"code":' + event.status
    made += ',"response":{' + code + (event.reason === undefined ? '' : (code === '' ? '' : ',') + '"error":"' + event.reason + '"') + '}'
  }
  return made + ',"service":{"name":"okta"}}'
}

function request (event: AuditEvent, id: string): string {
  return ',"http_request":{"uid":' + id + (METHODS.has(event.method) ? ',"http_method":"' + event.method + '"' : '') + ',"body_length":' + event.bytesIn +
    (event.path === undefined ? '' : ',"url":{"path":' + quote(event.path) + '}') + '}'
}

function response ({ status, bytesOut, upstreamMs }: AuditEvent): string {
  if (status === undefined) return ''
  return ',"http_response":{"code":' + status + ',"body_length":' + bytesOut + (upstreamMs === undefined ? '' : ',"latency":' + Math.round(upstreamMs)) + '}'
}

function resource ({ kind, id }: Resource): string {
  return '{"type":' + quote(kind) + ',"uid":' + quote(id) + '}'
}

/** Joins to Okta's System Log. */
function enrichment (oktaRequestId: string): string {
  const id = quote(oktaRequestId)
  return ',"enrichments":[{"name":"okta.request_id","value":' + id + ',"type":"X-Okta-Request-Id","data":{"id":' + id + '}}]'
}

/** Every field that can't be read back from OCSF's own, exactly. */
function unmapped (event: AuditEvent): string {
  let line = ',"unmapped":{"outcome":"' + event.outcome + '","stage":"' + event.stage + '","method":' + quote(event.method) + ',"source":' + quote(event.source)
  line += list(',"queryNames":', event.queryNames) + text(',"wouldDeny":', event.wouldDeny) + list(',"bodyPaths":', event.bodyPaths)
  line += text(',"credential":', event.credential) + text(',"bucket":', event.bucket) + plain(',"upstreamStatus":', event.upstreamStatus)
  line += plain(',"truncated":', event.truncated) + plain(',"resent":', event.resent) + ',"bytesOut":' + event.bytesOut + ',"durationMs":' + event.durationMs
  return line + plain(',"upstreamMs":', event.upstreamMs) + '}}\n'
}
