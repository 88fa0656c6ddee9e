import { isIP } from 'node:net'
import type { AuditEvent, Outcome, Resource } from '../domain/event.js'
import { activityOf, dispositionOf, DISPOSITION, eventId, severityOf, type Activity, type Disposition, type Severity } from './meaning.js'
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

/** Texts that are kept, of each part; a part is made anew when there are more. */
const MOST_KEPT = 4096

/**
 * Makes a function that turns an AuditEvent into one line of OCSF, newline included. What the class has no place for
 * is under `unmapped`, AuditEvent's own names, which is also what makes the line readable back (parse.ts). `unmapped`
 * is last: the hash chain is added to it. What a client, an operation and a rule say is the same in each of their
 * events and made once; the line is put together from those and what is the event's own.
 */
export function createOcsfLines ({ version, gate }: Producer): (event: AuditEvent) => string {
  const metadata = `,"metadata":{"version":"${OCSF_VERSION}","product":{"name":"Narrowgate","vendor_name":"Narrowgate","version":${quote(version)}},"profiles":["security_control"],"log_name":"narrowgate.audit","log_provider":${quote(gate)},"uid":`
  const heads = createHeads()
  const actorOf = kept(event => event.keyId ?? event.client, (a, b) => a.client === b.client && a.keyId === b.keyId && a.authentication === b.authentication, actor)
  const operationOf = kept(event => event.operation, (a, b) => a.operation === b.operation, ({ operation }) => ',"api":{"operation":' + quote(operation ?? 'unknown') + ',"request":{"uid":')
  const ruleOf = kept(event => event.ruleId, (a, b) => a.ruleId === b.ruleId && a.rule === b.rule && a.policy === b.policy && a.client === b.client && a.upstream === b.upstream && a.decision === b.decision, rule)
  const sourceOf = kept(event => event.source, (a, b) => a.source === b.source, source)
  const upstreamOf = kept(event => event.bucket, (a, b) => a.bucket === b.bucket && a.credential === b.credential, ({ credential, bucket }) => text(',"credential":', credential) + text(',"bucket":', bucket))
  return event => {
    const { phase, outcome, durationMs, reason, status } = event
    const id = quote(event.id)
    const time = String(event.time)
    const rounded = Math.round(durationMs)
    let line = heads(event) + time + ',"start_time":' + time
    if (phase === undefined && outcome !== 'unknown') line += ',"end_time":' + (event.time + rounded) + ',"duration":' + rounded
    line += metadata + (phase === undefined ? id : quote(eventId(event))) + ',"correlation_uid":' + id + ',"event_code":"' + (phase ?? outcome) + '"}'
    if (reason !== undefined) line += ',"status_code":"' + reason + '"'
    else if (status !== undefined) line += ',"status_code":"' + status + '"'
    line += text(',"status_detail":', event.detail) + plain(',"count":', event.count)
    line += actorOf(event) + operationOf(event) + id + '}' + answer(event) + ',"service":{"name":"okta"}}'
    line += request(event, id) + response(event) + sourceOf(event)
    if (event.resources !== undefined) line += ',"resources":[' + event.resources.map(resource).join(',') + ']'
    line += ruleOf(event)
    if (event.oktaRequestId !== undefined) line += enrichment(event.oktaRequestId)
    return line + unmapped(event, upstreamOf(event))
  }
}

/**
 * A part of the line that depends on little.
 *
 * @param key under which it is looked up
 * @param same true: what was made for the one holds for the other
 */
function kept (key: (event: AuditEvent) => string | undefined, same: (one: AuditEvent, other: AuditEvent) => boolean, make: (event: AuditEvent) => string): (event: AuditEvent) => string {
  const texts = new Map<string | undefined, { readonly event: AuditEvent, readonly text: string }>()
  return event => {
    const name = key(event)
    const known = texts.get(name)
    if (known !== undefined && same(known.event, event)) return known.text
    const made = make(event)
    if (texts.size >= MOST_KEPT) texts.clear()
    texts.set(name, { event, text: made })
    return made
  }
}

/** What depends on a few values only: made once for each combination. */
function createHeads (): (event: AuditEvent) => string {
  const heads = new Map<number, string>()
  return event => {
    const activity = activityOf(event.method, event.operation)
    const severity = severityOf(event)
    const disposition = dispositionOf(event)
    const status = statusOf(event)
    const key = ((activity * 100 + disposition) * 10 + severity) * 10 + status
    let known = heads.get(key)
    if (known === undefined) heads.set(key, known = head(activity, severity, disposition, status))
    return known
  }
}

function head (activity: Activity, severity: Severity, disposition: Disposition, status: 0 | 1 | 2): string {
  const action = disposition === DISPOSITION.logged ? [3, 'Observed'] : disposition === DISPOSITION.allowed ? [1, 'Allowed'] : disposition === DISPOSITION.unknown ? [0, 'Unknown'] : [2, 'Denied']
  return `{"category_uid":6,"category_name":"Application Activity","class_uid":6003,"class_name":"API Activity","activity_id":${activity},"activity_name":"${ACTIVITIES[activity]}","type_uid":${600300 + activity},"type_name":"API Activity: ${ACTIVITIES[activity]}",` +
    `"severity_id":${severity},"severity":"${SEVERITIES[severity]}","status_id":${status},"status":"${['Unknown', 'Success', 'Failure'][status]}","action_id":${action[0]},"action":"${action[1]}","disposition_id":${disposition},"disposition":"${DISPOSITIONS[disposition]}","time":`
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

function answer ({ status, reason }: AuditEvent): string {
  if (status === undefined) return reason === undefined ? '' : ',"response":{"error":"' + reason + '"}'
  return ',"response":{"code":' + status + (reason === undefined ? '}' : ',"error":"' + reason + '"}')
}

function source ({ source }: AuditEvent): string {
  return isIP(source) === 0 ? ',"src_endpoint":{"name":"unknown"}' : ',"src_endpoint":{"ip":' + quote(source) + '}'
}

/** Which upstream, by which rule of which policy, and what that came to. */
function rule (event: AuditEvent): string {
  let made = event.upstream === undefined ? '' : ',"dst_endpoint":{"svc_name":' + quote(event.upstream) + '}'
  if (event.ruleId !== undefined) made += ',"firewall_rule":{"uid":' + quote(event.ruleId) + text(',"name":', event.rule) + '}'
  if (event.policy !== undefined) made += ',"policy":{"uid":' + quote(event.policy) + text(',"name":', event.client) + ',"version":' + quote(event.policy) + '}'
  return event.decision === undefined ? made : made + ',"authorizations":[{"decision":"' + event.decision + '"}]'
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
function unmapped (event: AuditEvent, upstream: string): string {
  let line = ',"unmapped":{"outcome":"' + event.outcome + '","stage":"' + event.stage + '","method":' + quote(event.method) + ',"source":' + quote(event.source)
  line += list(',"queryNames":', event.queryNames) + text(',"wouldDeny":', event.wouldDeny) + list(',"bodyPaths":', event.bodyPaths)
  line += upstream + plain(',"upstreamStatus":', event.upstreamStatus)
  line += plain(',"truncated":', event.truncated) + plain(',"resent":', event.resent) + ',"bytesOut":' + event.bytesOut + ',"durationMs":' + event.durationMs
  return line + plain(',"upstreamMs":', event.upstreamMs) + text(',"traceId":', event.traceId) + '}}\n'
}
