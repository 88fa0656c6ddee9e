import type { AuditEvent, Resource } from '../domain/event.js'

type Json = Readonly<Record<string, unknown>>

const NAMES: ReadonlyMap<unknown, AuditEvent['phase']> = new Map([['narrowgate.request', undefined], ['narrowgate.intent', 'intent'], ['narrowgate.open', 'open']])

/**
 * An event, read back from a line in any of the gate's formats (plain, OCSF, ECS), its time as epoch milliseconds.
 * Undefined for whatever is none, checkpoints and gaps included.
 */
export function parseEvent (line: string): AuditEvent | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return undefined
  }
  if (!isObject(value)) return undefined
  const event = isObject(value['narrowgate']) ? fromPlain(value['narrowgate']) : value['class_uid'] === 6003 ? fromOcsf(value) : fromPlain(value)
  return event !== undefined && isWhole(event) ? event : undefined
}

function fromPlain (value: Json): AuditEvent | undefined {
  if (!NAMES.has(value['event'])) return undefined
  const { event: _, version: _version, chain: _chain, time, ...fields } = value
  return { ...fields, time: Date.parse(String(time)) } as unknown as AuditEvent
}

function fromOcsf (value: Json): AuditEvent | undefined {
  const { metadata, api, actor, http_request: request, http_response: response, firewall_rule: rule, policy, dst_endpoint: destination, enrichments } = value
  const { chain: _, ...unmapped } = objectOf(value['unmapped'])
  if (objectOf(objectOf(metadata)['product'])['name'] !== 'Narrowgate') return undefined
  const phase = objectOf(metadata)['event_code']
  const user = objectOf(objectOf(actor)['user'])
  const operation = objectOf(api)['operation']
  const authorizations = value['authorizations']
  const found: Record<string, unknown> = {
    time: value['time'],
    id: objectOf(metadata)['correlation_uid'],
    phase: phase === 'intent' || phase === 'open' ? phase : undefined,
    path: objectOf(objectOf(request)['url'])['path'],
    bytesIn: objectOf(request)['body_length'],
    client: user['uid'],
    keyId: user['credential_uid'],
    authentication: objectOf(objectOf(actor)['idp'])['protocol_name'],
    operation: operation === 'unknown' ? undefined : operation,
    resources: Array.isArray(value['resources']) ? value['resources'].map((each): Resource => ({ kind: String(objectOf(each)['type']), id: String(objectOf(each)['uid']) })) : undefined,
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
  return Object.fromEntries(Object.entries(found).filter(([, each]) => each !== undefined)) as unknown as AuditEvent
}

function isWhole (event: AuditEvent): boolean {
  return Number.isFinite(event.time) && typeof event.id === 'string' && typeof event.method === 'string' && typeof event.bytesIn === 'number' && typeof event.outcome === 'string'
}

function objectOf (value: unknown): Json {
  return isObject(value) ? value : {}
}

function isObject (value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
