import { SPAN_MS } from './window.js'

/** What an answer of Okta says about its limit. Made only by `parseObservation`. */
export type Observation =
  /** the three headers, sane: what applied to this request's credential, and when its window ends */
  | { readonly kind: 'window', readonly tooMany: boolean, readonly limit: number, readonly remaining: number, readonly resetMs: number }
  /** 429 with Limit 0 and Remaining 0: Okta's concurrency limit; Reset is an estimate */
  | { readonly kind: 'concurrency', readonly tooMany: true, readonly resetMs: number }
  /** none of the headers: 405, unlimited endpoints, some early 401 and 404 */
  | { readonly kind: 'silent', readonly tooMany: boolean }
  /** headers that make no sense; counted, teach nothing */
  | { readonly kind: 'nonsense', readonly tooMany: boolean }

/** A Reset further away than this is not believed: Okta's windows last a minute, Reset is in whole seconds. */
export const RESET_HORIZON_MS = SPAN_MS + 1000

// Far above any published limit (DynamicScale: 1000 × 600); a larger one is a mistake that would lift the bound.
const LARGEST_LIMIT = 10_000_000
const INTEGER = /^[0-9]{1,10}$/

const SILENT: Observation = { kind: 'silent', tooMany: false }
const SILENT_429: Observation = { kind: 'silent', tooMany: true }
const NONSENSE: Observation = { kind: 'nonsense', tooMany: false }
const NONSENSE_429: Observation = { kind: 'nonsense', tooMany: true }

/**
 * Reads X-Rate-Limit-Limit, -Remaining and -Reset as Okta sends them (facts: rate-limits.json, `headers` and
 * `tooMany`). Integers only; a header that stood twice is passed joined by a comma, and so is nonsense.
 *
 * @param status of the answer
 * @param now the store's clock, epoch ms; `resetMs` of the result is on that clock
 * @param wallNow the wall clock, epoch ms, when the store's clock is a monotonic one
 */
export function parseObservation (status: number, limit: string | undefined, remaining: string | undefined, reset: string | undefined, now: number, wallNow: number = now): Observation {
  const tooMany = status === 429
  if (limit === undefined && remaining === undefined && reset === undefined) return tooMany ? SILENT_429 : SILENT
  const nonsense = tooMany ? NONSENSE_429 : NONSENSE
  const limitValue = integer(limit)
  const remainingValue = integer(remaining)
  const aheadMs = integer(reset) * 1000 - wallNow
  // Written so that NaN fails: every comparison with it is false.
  if (!(aheadMs > 0 && aheadMs <= RESET_HORIZON_MS)) return nonsense
  if (!(remainingValue <= limitValue && limitValue <= LARGEST_LIMIT)) return nonsense
  const resetMs = now + aheadMs
  if (limitValue === 0) return tooMany ? { kind: 'concurrency', tooMany, resetMs } : nonsense
  return { kind: 'window', tooMany, limit: limitValue, remaining: remainingValue, resetMs }
}

function integer (text: string | undefined): number {
  return text !== undefined && INTEGER.test(text) ? Number(text) : NaN
}
