import { createResources } from '../audit/resources.js'
import type { AuditEvent, Outcome } from '../domain/event.js'
import { rejections } from '../domain/rejection.js'
import type { Road } from './road.js'
import type { GateExchange } from './stages.js'

/** Kinds are a function of the catalogue's operations, so that keeping them is no state. */
const resourcesOf = createResources()

/** Longest path that an event carries; targets are at most 4,096 bytes. */
const PATH_CHARACTERS = 1024

/**
 * The audit event of a finished exchange. Names only: no body, no query value, no credential.
 *
 * @param clock monotonic milliseconds now
 * @param phase of an exchange that is not finished
 */
export function toEvent (exchange: GateExchange, clock: number, phase?: AuditEvent['phase']): AuditEvent {
  const { client, policy, operation, rule, rejection, target } = exchange
  return {
    time: exchange.time,
    id: exchange.id,
    phase,
    outcome: phase === undefined ? outcomeOf(exchange) : 'pending',
    stage: exchange.stage,
    method: exchange.method,
    path: pathOf(exchange),
    queryNames: target === undefined || target.query.length === 0 ? undefined : target.query.map(parameter => parameter.name),
    source: exchange.source,
    client: client?.id,
    keyId: client?.keyId,
    authentication: client?.method,
    operation: operation?.id,
    resources: operation === undefined || exchange.parameters === undefined ? undefined : resourcesOf(operation, exchange.parameters),
    rule: rule?.name,
    ruleId: rule?.id,
    decision: decisionOf(exchange),
    reason: rejection?.code,
    wouldDeny: exchange.wouldDeny,
    detail: exchange.detail ?? rejection?.detail ?? causesOf(exchange),
    bodyPaths: exchange.bodyPaths,
    upstream: rule === undefined ? undefined : policy?.upstream,
    credential: rule?.credential,
    bucket: rule === undefined ? undefined : operation?.bucket,
    status: exchange.status,
    upstreamStatus: exchange.upstreamStatus,
    oktaRequestId: exchange.oktaRequestId,
    truncated: exchange.truncated ? true : undefined,
    resent: exchange.resent ? true : undefined,
    bytesIn: exchange.bytesIn,
    bytesOut: exchange.bytesOut,
    durationMs: round(clock - exchange.clock),
    upstreamMs: exchange.upstreamMs === undefined ? undefined : round(exchange.upstreamMs),
    policy: policy?.hash,
    traceId: exchange.trace?.traceId
  }
}

/** What became of the request, in one word. */
export function outcomeOf (exchange: GateExchange): Outcome {
  if (exchange.aborted) return 'aborted'
  const { rejection } = exchange
  if (rejection === undefined) return exchange.truncated ? 'failed' : 'allowed'
  const { status } = rejections[rejection.code]
  if (status === 429) return 'limited'
  return status >= 500 ? 'failed' : 'refused'
}

function decisionOf (exchange: GateExchange): 'allow' | 'deny' | undefined {
  if (exchange.stage === 'record' || exchange.stage === 'target' || exchange.stage === 'identify') return exchange.rejection === undefined ? undefined : 'deny'
  if (exchange.stage === 'operation' || exchange.stage === 'decide' || exchange.stage === 'body') return 'deny'
  return 'allow'
}

/** Where a query, or what another parser takes for one, begins; and the user of an absolute URL. */
const NOT_PATH = /[?#;&]|%3[bf]|%26/i
const USER = /^[^/]*\/\/[^/]*@|^[^/]*@/

/** Without the query; of a target that could not be parsed, what no parser takes for a query or a password. */
function pathOf (exchange: GateExchange): string {
  const path = exchange.target?.path ?? exchange.rawTarget.split(NOT_PATH, 1)[0]!.replace(USER, '')
  return path.length > PATH_CHARACTERS ? path.slice(0, PATH_CHARACTERS) : path
}

function causesOf (exchange: GateExchange): string | undefined {
  const causes = exchange.rejection?.causes
  return causes === undefined || causes.length === 0 ? undefined : causes.join('; ')
}

function round (milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000
}

/** What is on the disk before a write is forwarded, where a sink wants that: see AuditLog.intend. */
export function intend (road: Road, exchange: GateExchange): Promise<boolean> | undefined {
  if (!road.wantsIntents) return undefined
  return road.intend(toEvent(exchange, road.clock(), 'intent'))
}

/** Writes the event of an exchange and counts it; a second call does nothing. @param flood see AuditLog.record */
export function recordEvent (road: Road, exchange: GateExchange, flood = false): void {
  if (exchange.recorded) return
  exchange.recorded = true
  road.long.end(exchange)
  road.record(toEvent(exchange, road.clock()), flood)
  road.metrics.count(exchange)
  road.keyUses.note(exchange)
  road.telemetry?.end(exchange, road.clock())
}
