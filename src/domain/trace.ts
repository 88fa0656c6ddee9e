/** A request's place in a distributed trace (W3C Trace Context). */
export interface TraceContext {
  /** 32 lower-case hex digits, not all zero */
  readonly traceId: string
  /** of the gate's own span: 16 lower-case hex digits */
  readonly spanId: string
  /** of the caller's span; absent: the trace begins here */
  readonly parentId?: string
  /** true: its spans are exported */
  readonly sampled: boolean
}

/** What a caller said of the trace that its call belongs to. */
export interface TraceParent {
  readonly traceId: string
  readonly parentId: string
  readonly sampled: boolean
}

const LONGEST = 256
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const SAMPLED = 1

/**
 * Reads a `traceparent` header (W3C Trace Context, section 3.2): lower-case hex digits, no zero ids, no version ff;
 * version 00 has exactly four fields, a later one may go on behind them. Undefined for everything else, two headers
 * that were joined among it.
 */
export function parseTraceparent (text: string | undefined): TraceParent | undefined {
  if (text === undefined || text.length > LONGEST) return undefined
  const match = TRACEPARENT.exec(text)
  if (match === null) return undefined
  const [, version, traceId = '', parentId = '', flags = '', more] = match
  if (version === 'ff' || (version === '00' && more !== undefined) || /^0+$/.test(traceId) || /^0+$/.test(parentId)) return undefined
  return { traceId, parentId, sampled: (Number.parseInt(flags, 16) & SAMPLED) !== 0 }
}
