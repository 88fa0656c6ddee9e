import type { PublicKey } from './public-key.js'

/** Where the keys of an issuer come from. Rejects with a message for operators; never with what was fetched. */
export type FetchKeys = () => Promise<readonly PublicKey[]>

/** The keys of one issuer, held between requests. */
export interface IssuerKeys {
  /**
   * The keys to try for a `kid`. Fetches when there are none yet, when they are old, or when the `kid` is not among
   * them; the last good ones stay when the issuer is down.
   */
  for (kid: string | undefined, now: number): Promise<readonly PublicKey[]>
  /** what operators get to see; `failure` of the last attempt */
  readonly status: { readonly keys: number, readonly fetchedAt?: number, readonly failure?: string }
}

const FRESH_MS = 3_600_000
/** An unknown `kid` is anybody's to send, and an issuer that is down is not asked at once again: at most this often. */
const COOL_DOWN_MS = 30_000

/** What became of a fetch, for the operators' log: only changes are told. */
export type IssuerTold = (failure: string | undefined, keysKept: number) => void

/** @param keys known from a file: nothing is fetched then */
export function fixedIssuerKeys (keys: readonly PublicKey[]): IssuerKeys {
  return { for: async () => keys, status: { keys: keys.length } }
}

/**
 * Single flight: however many calls wait, one request goes out. The first unknown `kid` fetches at once, however new
 * the keys are: an issuer may have changed them since; the next ones have to wait.
 *
 * @param told hears of a failure when it is the first or another one, and when the keys have come again
 */
export function createIssuerKeys (fetchKeys: FetchKeys, freshMs = FRESH_MS, coolDownMs = COOL_DOWN_MS, told: IssuerTold = () => {}): IssuerKeys {
  let keys: readonly PublicKey[] = []
  let fetchedAt: number | undefined
  let failedAt: number | undefined
  let unknownAt: number | undefined
  let failure: string | undefined
  let flight: Promise<void> | undefined

  async function refresh (now: number): Promise<void> {
    const before = failure
    try {
      keys = await fetchKeys()
      fetchedAt = now
      failedAt = undefined
      failure = undefined
    } catch (error) {
      failedAt = now
      failure = error instanceof Error ? error.message : 'failed'
    } finally {
      flight = undefined
    }
    if (failure !== before) told(failure, keys.length)
  }

  const cooled = (since: number | undefined, now: number): boolean => since === undefined || now - since >= coolDownMs || now < since

  return {
    get status () { return { keys: keys.length, fetchedAt, failure } },
    async for (kid, now) {
      const known = keys.length > 0 && (kid === undefined || keys.some(key => key.kid === kid))
      const old = fetchedAt === undefined || now - fetchedAt >= freshMs
      const wanted = old || (!known && cooled(unknownAt, now))
      if (flight === undefined && wanted && cooled(failedAt, now)) {
        if (!old) unknownAt = now
        flight = refresh(now)
      }
      // Keys that are merely old are good enough for this call.
      if (flight !== undefined && !known) await flight
      return keys
    }
  }
}
