import { isIP } from 'node:net'
import type { AuditEvent, Outcome, Resource } from '../domain/event.js'
import { activityOf, dispositionOf, DISPOSITION, eventId, severityOf, type Activity, type Disposition, type Severity } from './meaning.js'
import { remembered } from '../domain/remembered.js'
import { LineWriter, piece, type Piece } from './line-writer.js'
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

const START_TIME = piece(',"start_time":')
const END_TIME = piece(',"end_time":')
const DURATION = piece(',"duration":')
const CORRELATION = piece(',"correlation_uid":')
const PATH = piece(',"url":{"path":')
const LATENCY = piece(',"latency":')
const RESOURCES = piece(',"resources":[')
const COMMA = piece(',')
const CLOSE = piece('}')
const CLOSE_TWO = piece('}}')
const CLOSE_LIST = piece('}]')
const OKTA_ID = piece(',"enrichments":[{"name":"okta.request_id","value":')
const OKTA_DATA = piece(',"type":"X-Okta-Request-Id","data":{"id":')
const CLOSE_OKTA = piece('}}]')
const UPSTREAM_STATUS = piece(',"upstreamStatus":')
const BYTES_OUT = piece(',"bytesOut":')
const DURATION_MS = piece(',"durationMs":')
const UPSTREAM_MS = piece(',"upstreamMs":')
const END = piece('}}\n')

/**
 * Makes a function that turns an AuditEvent into one line of OCSF, newline included. What the class has no place for
 * is under `unmapped`, AuditEvent's own names, which is also what makes the line readable back (parse.ts). `unmapped`
 * is last: the hash chain is added to it. What a client, an operation and a rule say is the same in each of their
 * events and made once; the line is put together from those and what is the event's own.
 */
export function createOcsfLines ({ version, gate }: Producer): (event: AuditEvent) => string {
  const line = new LineWriter()
  const metadata = piece(`,"metadata":{"version":"${OCSF_VERSION}","product":{"name":"Narrowgate","vendor_name":"Narrowgate","version":${quote(version)}},"profiles":["security_control"],"log_name":"narrowgate.audit","log_provider":${quote(gate)},"uid":`)
  const headOf = createHeads()
  const timeOf = lastTime()
  const endOf = lastTime()
  const codesOf = kept(event => event.reason ?? event.status, (a, b) => a.reason === b.reason && a.status === b.status && a.outcome === b.outcome && a.phase === b.phase, codes)
  const actorOf = kept(event => event.keyId ?? event.client, (a, b) => a.client === b.client && a.keyId === b.keyId && a.authentication === b.authentication, actor)
  const operationOf = kept(event => event.operation, (a, b) => a.operation === b.operation, ({ operation }) => ',"api":{"operation":' + quote(operation ?? 'unknown') + ',"request":{"uid":')
  const answerOf = kept(event => event.reason ?? event.status, (a, b) => a.reason === b.reason && a.status === b.status, answer)
  const methodOf = kept(event => event.method, (a, b) => a.method === b.method, ({ method }) => (METHODS.has(method) ? ',"http_method":"' + method + '"' : '') + ',"body_length":')
  const responseOf = kept(event => event.status, (a, b) => a.status === b.status, ({ status }) => ',"http_response":{"code":' + status + ',"body_length":')
  const sourceOf = kept(event => event.source, (a, b) => a.source === b.source, source)
  const ruleOf = kept(event => event.ruleId, (a, b) => a.ruleId === b.ruleId && a.rule === b.rule && a.policy === b.policy && a.client === b.client && a.upstream === b.upstream && a.decision === b.decision, rule)
  const unmappedOf = kept(event => event.stage, (a, b) => a.stage === b.stage && a.outcome === b.outcome, ({ outcome, stage }) => ',"unmapped":{"outcome":"' + outcome + '","stage":"' + stage + '","method":')
  const ownSourceOf = kept(event => event.source, (a, b) => a.source === b.source, ({ source }) => ',"source":' + quote(source))
  const upstreamOf = kept(event => event.bucket, (a, b) => a.bucket === b.bucket && a.credential === b.credential, ({ credential, bucket }) => text(',"credential":', credential) + text(',"bucket":', bucket))
  const kindOf = remembered(kind => piece('{"type":' + quote(kind) + ',"uid":'))

  function times (event: AuditEvent): void {
    const { phase, outcome, durationMs } = event
    const time = timeOf(event.time)
    line.piece(time)
    line.piece(START_TIME)
    line.piece(time)
    if (phase !== undefined || outcome === 'unknown') return
    const rounded = Math.round(durationMs)
    line.piece(END_TIME)
    line.piece(endOf(event.time + rounded))
    line.piece(DURATION)
    line.number(rounded)
  }

  /** Its id stands in the line four or five times. */
  function call (event: AuditEvent): void {
    const { detail, count, path, status, upstreamMs } = event
    line.piece(metadata)
    if (event.phase !== undefined) { line.quoted(eventId(event)); line.piece(CORRELATION) }
    const from = line.size
    line.quoted(event.id)
    const to = line.size
    if (event.phase === undefined) { line.piece(CORRELATION); line.again(from, to) }
    line.piece(codesOf(event))
    if (detail !== undefined) line.text(text(',"status_detail":', detail))
    if (count !== undefined) line.text(plain(',"count":', count))
    line.piece(actorOf(event))
    line.piece(operationOf(event))
    line.again(from, to)
    line.piece(answerOf(event))
    line.again(from, to)
    line.piece(methodOf(event))
    line.number(event.bytesIn)
    if (path === undefined) line.piece(CLOSE)
    else {
      line.piece(PATH)
      line.quoted(path)
      line.piece(CLOSE_TWO)
    }
    if (status === undefined) return
    line.piece(responseOf(event))
    line.number(event.bytesOut)
    if (upstreamMs !== undefined) { line.piece(LATENCY); line.number(Math.round(upstreamMs)) }
    line.piece(CLOSE)
  }

  function resources (all: readonly Resource[]): void {
    line.piece(RESOURCES)
    for (const [i, { kind, id }] of all.entries()) {
      if (i > 0) { line.piece(CLOSE); line.piece(COMMA) }
      line.piece(kindOf(kind))
      line.quoted(id)
    }
    line.piece(CLOSE_LIST)
  }

  /** Joins to Okta's System Log. */
  function enrichment (id: string): void {
    line.piece(OKTA_ID)
    const from = line.size
    line.quoted(id)
    const to = line.size
    line.piece(OKTA_DATA)
    line.again(from, to)
    line.piece(CLOSE_OKTA)
  }

  /** Every field that can't be read back from OCSF's own, exactly. */
  function unmapped (event: AuditEvent): void {
    const { queryNames, wouldDeny, bodyPaths, upstreamStatus, truncated, resent, upstreamMs, traceId } = event
    line.piece(unmappedOf(event))
    line.quoted(event.method)
    line.piece(ownSourceOf(event))
    if (queryNames !== undefined) line.text(list(',"queryNames":', queryNames))
    if (wouldDeny !== undefined) line.text(text(',"wouldDeny":', wouldDeny))
    if (bodyPaths !== undefined) line.text(list(',"bodyPaths":', bodyPaths))
    line.piece(upstreamOf(event))
    if (upstreamStatus !== undefined) { line.piece(UPSTREAM_STATUS); line.number(upstreamStatus) }
    if (truncated !== undefined) line.text(plain(',"truncated":', truncated))
    if (resent !== undefined) line.text(plain(',"resent":', resent))
    line.piece(BYTES_OUT)
    line.number(event.bytesOut)
    line.piece(DURATION_MS)
    line.number(event.durationMs)
    if (upstreamMs !== undefined) { line.piece(UPSTREAM_MS); line.number(upstreamMs) }
    if (traceId !== undefined) line.text(text(',"traceId":', traceId))
    line.piece(END)
  }

  return event => {
    line.begin()
    line.piece(headOf(event))
    times(event)
    call(event)
    line.piece(sourceOf(event))
    // The gate's own events have none or some; what is read from a log and written again may have an empty list.
    if (event.resources !== undefined && event.resources.length > 0) resources(event.resources)
    line.piece(ruleOf(event))
    if (event.oktaRequestId !== undefined) enrichment(event.oktaRequestId)
    unmapped(event)
    return line.take()
  }
}

/**
 * A part of the line that depends on little.
 *
 * @param key under which it is looked up
 * @param same true: what was made for the one holds for the other
 */
function kept (key: (event: AuditEvent) => string | number | undefined, same: (one: AuditEvent, other: AuditEvent) => boolean, make: (event: AuditEvent) => string): (event: AuditEvent) => Piece {
  const pieces = new Map<string | number | undefined, { readonly event: AuditEvent, readonly made: Piece }>()
  return event => {
    const name = key(event)
    const known = pieces.get(name)
    if (known !== undefined && same(known.event, event)) return known.made
    const made = piece(make(event))
    if (pieces.size >= MOST_KEPT) pieces.clear()
    pieces.set(name, { event, made })
    return made
  }
}

/** Many events begin in the same millisecond. */
function lastTime (): (time: number) => Piece {
  let last = Number.NaN
  let made = CLOSE
  return time => {
    if (time !== last) {
      made = piece(String(time))
      last = time
    }
    return made
  }
}

/** What depends on a few values only: made once for each combination. */
function createHeads (): (event: AuditEvent) => Piece {
  const heads = new Map<number, Piece>()
  return event => {
    const activity = activityOf(event.method, event.operation)
    const severity = severityOf(event)
    const disposition = dispositionOf(event)
    const status = statusOf(event)
    const key = ((activity * 100 + disposition) * 10 + severity) * 10 + status
    let known = heads.get(key)
    if (known === undefined) heads.set(key, known = piece(head(activity, severity, disposition, status)))
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

function codes ({ phase, outcome, reason, status }: AuditEvent): string {
  const code = reason ?? status
  return ',"event_code":"' + (phase ?? outcome) + '"}' + (code === undefined ? '' : ',"status_code":"' + code + '"')
}

function answer ({ status, reason }: AuditEvent): string {
  const error = reason === undefined ? '' : '"error":"' + reason + '"'
  const response = status === undefined ? error : '"code":' + status + (error === '' ? '' : ',' + error)
  return '}' + (response === '' ? '' : ',"response":{' + response + '}') + ',"service":{"name":"okta"}},"http_request":{"uid":'
}

/** OCSF's ip_t has at most so many characters; some spellings of an IPv6 address, and those with a zone, have more. */
const LONGEST_IP = 40

function source ({ source }: AuditEvent): string {
  return isIP(source) === 0 || source.length > LONGEST_IP ? ',"src_endpoint":{"name":"unknown"}' : ',"src_endpoint":{"ip":' + quote(source) + '}'
}

/** Which upstream, by which rule of which policy, and what that came to. */
function rule (event: AuditEvent): string {
  let made = event.upstream === undefined ? '' : ',"dst_endpoint":{"svc_name":' + quote(event.upstream) + '}'
  if (event.ruleId !== undefined) made += ',"firewall_rule":{"uid":' + quote(event.ruleId) + text(',"name":', event.rule) + '}'
  if (event.policy !== undefined) made += ',"policy":{"uid":' + quote(event.policy) + text(',"name":', event.client) + ',"version":' + quote(event.policy) + '}'
  return event.decision === undefined ? made : made + ',"authorizations":[{"decision":"' + event.decision + '"}]'
}
