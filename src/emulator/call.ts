import type { IncomingHttpHeaders } from 'node:http'
import type { Target } from '../domain/target.js'
import { failure, type Answer } from './answers.js'
import type { LogEvent, Org } from './state.js'
import { isoTime } from './state.js'

/** Whose credential a call carries. */
export type Principal =
  | { readonly kind: 'apiToken', readonly id: string, readonly userId: string }
  | { readonly kind: 'client', readonly id: string, readonly scopes: ReadonlySet<string> }

/** One call that has been routed, authenticated and admitted. */
export interface OrgCall {
  readonly org: Org
  /** epoch milliseconds */
  readonly now: number
  readonly method: string
  readonly target: Target
  /** decoded path parameters, in the order of the path */
  readonly parameters: readonly string[]
  readonly headers: IncomingHttpHeaders
  /** parsed JSON; undefined without a body */
  readonly body: unknown
  readonly principal?: Principal
}

export type Handler = (call: OrgCall) => Answer

/** `METHOD template` → handler; parameter names are free, as in policies. */
export type Routes = Readonly<Record<string, Handler>>

const LOG_SIZE = 2000

/** The first value of a query parameter. */
export function queryOf (call: OrgCall, name: string): string | undefined {
  for (const parameter of call.target.query) if (parameter.name === name) return parameter.value
  return undefined
}

/** The i-th path parameter. */
export function parameterOf (call: OrgCall, index: number): string {
  return call.parameters[index] ?? ''
}

/** The body as an object; anything else reads as an empty one. */
export function bodyOf (call: OrgCall): Record<string, unknown> {
  return objectOf(call.body)
}

/** A JSON value as an object; anything else reads as an empty one. */
export function objectOf (value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : {}
}

/** A JSON value as a non-empty text. */
export function textOf (value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** 404 E0000007 as recorded: `Not found: Resource not found: {id} ({kind})`. */
export function notFound (id: string, kind: string): Answer {
  return failure('E0000007', { summary: `Not found: Resource not found: ${id} (${kind})` })
}

/** 400 E0000001 as recorded: the field in the summary, the reasons as causes. */
export function invalid (field: string, ...causes: readonly string[]): Answer {
  return failure('E0000001', { summary: `Api validation failed: ${field}`, causes })
}

/** Writes an event to the System Log. */
export function log (call: OrgCall, eventType: string, actor: LogEvent['actor'], result = 'SUCCESS'): void {
  const { log: events } = call.org
  const detail: Record<string, string> = call.principal?.kind === 'apiToken' ? { requestApiTokenId: call.principal.id } : {}
  events.push({ uuid: call.org.identify('evt'), published: isoTime(call.now), eventType, actor, outcome: { result }, transaction: { detail } })
  if (events.length > LOG_SIZE) events.splice(0, events.length - LOG_SIZE)
}
