import type { AuditEvent, Outcome } from '../domain/event.js'

type Json = Readonly<Record<string, unknown>>

const NAMES: ReadonlyMap<unknown, AuditEvent['phase']> = new Map([['narrowgate.request', undefined], ['narrowgate.intent', 'intent'], ['narrowgate.open', 'open']])

type Fits = (value: unknown) => boolean

const isText: Fits = value => typeof value === 'string'
const isNumber: Fits = value => typeof value === 'number' && Number.isFinite(value)
const isFlag: Fits = value => typeof value === 'boolean'
const isTexts: Fits = value => Array.isArray(value) && value.every(isText)
/** Stages and reasons, which a newer gate may have more of; written without quoting. */
const isWord: Fits = value => typeof value === 'string' && /^[a-z_]{1,40}$/.test(value)
const isResources: Fits = value => Array.isArray(value) && value.every(each => isObject(each) && isText(each['kind']) && isText(each['id']))
/** ECMA-262: what a Date can hold. */
const isTime: Fits = value => typeof value === 'number' && Math.abs(value) <= 8.64e15
const oneOf = <T extends string>(...words: T[]): Fits => value => (words as unknown[]).includes(value)

/**
 * What each field has to be. A log is read where it lies, and whoever may write there may have written anything: what
 * passes here can be shown, summed up and written again.
 */
const FIELDS: Readonly<Record<keyof AuditEvent, Fits>> = {
  time: isTime,
  id: isText,
  phase: oneOf('intent', 'open'),
  outcome: oneOf<Outcome>('allowed', 'refused', 'limited', 'failed', 'aborted', 'pending', 'unknown'),
  stage: isWord,
  method: isText,
  path: isText,
  queryNames: isTexts,
  source: isText,
  client: isText,
  keyId: isText,
  authentication: isText,
  operation: isText,
  resources: isResources,
  rule: isText,
  ruleId: isText,
  decision: oneOf('allow', 'deny'),
  reason: isWord,
  wouldDeny: isWord,
  detail: isText,
  bodyPaths: isTexts,
  upstream: isText,
  credential: isText,
  bucket: isText,
  status: isNumber,
  upstreamStatus: isNumber,
  oktaRequestId: isText,
  truncated: isFlag,
  resent: isFlag,
  bytesIn: isNumber,
  bytesOut: isNumber,
  durationMs: isNumber,
  upstreamMs: isNumber,
  policy: isText,
  count: isNumber,
  traceId: isText
}
const REQUIRED: readonly (keyof AuditEvent)[] = ['time', 'id', 'outcome', 'stage', 'method', 'source', 'bytesIn', 'bytesOut', 'durationMs']

/**
 * An event, read back from a line in any of the gate's formats (plain, OCSF, ECS), its time as epoch milliseconds.
 * Undefined for whatever is none, checkpoints and gaps included, and for one with a field that is not what it has to be.
 */
export function parseEvent (line: string): AuditEvent | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return undefined
  }
  if (!isObject(value)) return undefined
  const found = isObject(value['narrowgate']) ? fromPlain(value['narrowgate']) : value['class_uid'] === 6003 ? fromOcsf(value) : fromPlain(value)
  return found === undefined ? undefined : eventOf(found)
}

/** The fields that an event has, of what was found under their names. */
function eventOf (found: Json): AuditEvent | undefined {
  const event: Record<string, unknown> = {}
  for (const [name, fits] of Object.entries(FIELDS)) {
    const value = Object.hasOwn(found, name) ? found[name] : undefined
    if (value === undefined) continue
    if (!fits(value)) return undefined
    event[name] = value
  }
  return REQUIRED.every(name => event[name] !== undefined) ? event as unknown as AuditEvent : undefined
}

function fromPlain (value: Json): Json | undefined {
  if (!NAMES.has(value['event'])) return undefined
  const { time } = value
  return { ...value, time: typeof time === 'string' ? Date.parse(time) : undefined }
}

function fromOcsf (value: Json): Json | undefined {
  const { metadata, api, actor, http_request: request, http_response: response, firewall_rule: rule, policy, dst_endpoint: destination, enrichments } = value
  const { chain: _, ...unmapped } = objectOf(value['unmapped'])
  if (objectOf(objectOf(metadata)['product'])['name'] !== 'Narrowgate') return undefined
  const phase = objectOf(metadata)['event_code']
  const user = objectOf(objectOf(actor)['user'])
  const operation = objectOf(api)['operation']
  const authorizations = value['authorizations']
  return {
    time: value['time'],
    id: objectOf(metadata)['correlation_uid'],
    phase: phase === 'intent' || phase === 'open' ? phase : undefined,
    path: objectOf(objectOf(request)['url'])['path'],
    bytesIn: objectOf(request)['body_length'],
    client: user['uid'],
    keyId: user['credential_uid'],
    authentication: objectOf(objectOf(actor)['idp'])['protocol_name'],
    operation: operation === 'unknown' ? undefined : operation,
    resources: Array.isArray(value['resources']) ? value['resources'].map(each => ({ kind: objectOf(each)['type'], id: objectOf(each)['uid'] })) : undefined,
    rule: objectOf(rule)['name'],
    ruleId: objectOf(rule)['uid'],
    decision: Array.isArray(authorizations) ? objectOf(authorizations[0])['decision'] : undefined,
    reason: objectOf(objectOf(api)['response'])['error'],
    detail: value['status_detail'],
    upstream: objectOf(destination)['svc_name'],
    status: objectOf(response)['code'],
    oktaRequestId: Array.isArray(enrichments) ? objectOf(enrichments[0])['value'] : undefined,
    policy: objectOf(policy)['uid'],
    count: value['count'],
    ...unmapped
  }
}

function objectOf (value: unknown): Json {
  return isObject(value) ? value : {}
}

function isObject (value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
