import type { MakePayload } from './payloads.js'
import { quote } from './text.js'

/** A finished span, as it waits to be sent. Names and numbers only: no path, no query, no header. */
export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentId?: string
  readonly name: string
  readonly kind: 'server' | 'client'
  /** epoch milliseconds, with fractions */
  readonly start: number
  readonly end: number
  readonly failed: boolean
  /** undefined values are left out */
  readonly attributes: Readonly<Record<string, string | number | undefined>>
}

/** OTLP's SpanKind and status codes (opentelemetry-proto, trace/v1). */
const KIND = { server: 2, client: 3 } as const
const STATUS_ERROR = 2
const SAMPLED = 1

/** One span in OTLP's JSON encoding: ids in hex, times in nanoseconds as text. */
export function spanText ({ traceId, spanId, parentId, name, kind, start, end, failed, attributes }: Span): string {
  const list = Object.entries(attributes).filter(([, value]) => value !== undefined)
    .map(([key, value]) => `{"key":"${key}","value":${typeof value === 'number' ? `{"intValue":"${value}"}` : `{"stringValue":${quote(value!)}}`}}`)
  return `{"traceId":"${traceId}","spanId":"${spanId}"${parentId === undefined ? '' : `,"parentSpanId":"${parentId}"`},"flags":${SAMPLED},"name":${quote(name)},"kind":${KIND[kind]},` +
    `"startTimeUnixNano":"${nanoseconds(start)}","endTimeUnixNano":"${nanoseconds(Math.max(start, end))}","attributes":[${list.join(',')}],"status":${failed ? `{"code":${STATUS_ERROR}}` : '{}'}}`
}

/** Numbers hold no nanoseconds of today. */
export function nanoseconds (ms: number): string {
  const whole = Math.floor(ms)
  return `${whole}${String(Math.floor((ms - whole) * 1e6)).padStart(6, '0')}`
}

/** The resource of everything that this process tells over OTLP. @param instance of several processes on a host, which one */
export function otlpResource (gate: string, version: string, instance: string): string {
  const attribute = (key: string, value: string): string => `{"key":"${key}","value":{"stringValue":${quote(value)}}}`
  return `{"attributes":[${attribute('service.name', 'narrowgate')},${attribute('service.version', version)},${attribute('service.instance.id', instance)},${attribute('host.name', gate)}]}`
}

/** OTLP traces over HTTP as JSON (`/v1/traces`); each line is a span's text. */
export function spansPayload (authorization: (() => string) | undefined, gate: string, version: string, instance: string): MakePayload {
  const head = `{"resourceSpans":[{"resource":${otlpResource(gate, version, instance)},"scopeSpans":[{"scope":{"name":"narrowgate","version":${quote(version)}},"spans":[`
  return lines => ({
    body: `${head}${lines.join(',')}]}]}]}`,
    headers: { 'content-type': 'application/json', ...authorization === undefined ? {} : { authorization: authorization() } }
  })
}
