/** What a call's rate limit headers say, and whether it is refused. */
export interface Admission {
  readonly admitted: boolean
  readonly limit: number
  readonly remaining: number
  /** epoch seconds */
  readonly reset: number
}

interface Window {
  used: number
  /** epoch seconds when the window ends */
  reset: number
}

/** Calls of one bucket, for tests. */
export interface BucketCount {
  readonly bucket: string
  /** org limit per minute */
  readonly limit: number
  readonly admitted: number
  readonly refused: number
  /** the most calls that one window has admitted */
  readonly peak: number
}

class Bucket {
  readonly org: Window = { used: 0, reset: 0 }
  readonly principals = new Map<string, Window>()
  admitted = 0
  refused = 0
  peak = 0

  constructor (readonly name: string, readonly limit: number) {}
}

const WINDOW_SECONDS = 60

/**
 * Okta's rate limits (rate-limits.json): one counter per bucket for the org, and nested in it one per API token or
 * app with a share of it. A window of a minute begins with the first call, not with the clock's minute. The headers
 * show the ceiling that applied: the principal's, or for anonymous calls the org's.
 */
export class RateLimits {
  readonly #buckets = new Map<string, Bucket>()
  readonly #limitOf: (bucket: string) => number
  readonly #share: number

  /** @param limitOf the org's calls per minute of a bucket; @param share a principal's part, 0..1 */
  constructor (limitOf: (bucket: string) => number, share: number) {
    this.#limitOf = limitOf
    this.#share = share
  }

  /** Counts a call; `now` in epoch milliseconds. A refused call counts nowhere. */
  admit (name: string, principal: string | undefined, now: number): Admission {
    const bucket = this.#bucket(name)
    const org = current(bucket.org, now)
    const own = principal === undefined ? undefined : current(this.#principal(bucket, principal), now)
    const ceiling = own === undefined ? bucket.limit : Math.floor(bucket.limit * this.#share)
    if (own !== undefined && own.used >= ceiling) return refuse(bucket, ceiling, own)
    if (org.used >= bucket.limit) return refuse(bucket, bucket.limit, org)
    org.used++
    if (own !== undefined) own.used++
    bucket.admitted++
    bucket.peak = Math.max(bucket.peak, org.used)
    const shown = own ?? org
    return { admitted: true, limit: ceiling, remaining: ceiling - shown.used, reset: shown.reset }
  }

  /** Spends calls as another user of the same org or principal would. */
  consume (name: string, count: number, principal: string | undefined, now: number): void {
    const bucket = this.#bucket(name)
    current(bucket.org, now).used += count
    if (principal !== undefined) current(this.#principal(bucket, principal), now).used += count
  }

  counts (): BucketCount[] {
    return [...this.#buckets.values()].map(({ name, limit, admitted, refused, peak }) => ({ bucket: name, limit, admitted, refused, peak }))
  }

  #bucket (name: string): Bucket {
    let bucket = this.#buckets.get(name)
    if (bucket === undefined) this.#buckets.set(name, bucket = new Bucket(name, this.#limitOf(name)))
    return bucket
  }

  #principal (bucket: Bucket, principal: string): Window {
    let window = bucket.principals.get(principal)
    if (window === undefined) bucket.principals.set(principal, window = { used: 0, reset: 0 })
    return window
  }
}

/** The window as of now: a new one begins with the first call after its end. */
function current (window: Window, now: number): Window {
  if (now >= window.reset * 1000) {
    window.used = 0
    window.reset = Math.floor(now / 1000) + WINDOW_SECONDS
  }
  return window
}

function refuse (bucket: Bucket, limit: number, window: Window): Admission {
  bucket.refused++
  return { admitted: false, limit, remaining: 0, reset: window.reset }
}
