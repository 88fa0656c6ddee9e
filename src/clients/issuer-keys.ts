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
/** An unknown `kid` is anybody's to send: it fetches at most this often. */
const COOL_DOWN_MS = 30_000

/** @param keys known from a file: nothing is fetched then */
export function fixedIssuerKeys (keys: readonly PublicKey[]): IssuerKeys {
  return { for: async () => keys, status: { keys: keys.length } }
}

/** Single flight: however many calls wait, one request goes out. */
export function createIssuerKeys (fetchKeys: FetchKeys, freshMs = FRESH_MS, coolDownMs = COOL_DOWN_MS): IssuerKeys {
  let keys: readonly PublicKey[] = []
  let fetchedAt: number | undefined
  let attemptedAt: number | undefined
  let failure: string | undefined
  let flight: Promise<void> | undefined

  async function refresh (now: number): Promise<void> {
    attemptedAt = now
    try {
      keys = await fetchKeys()
      fetchedAt = now
      failure = undefined
    } catch (error) {
      failure = error instanceof Error ? error.message : 'failed'
    } finally {
      flight = undefined
    }
  }

  const cooled = (now: number): boolean => attemptedAt === undefined || now - attemptedAt >= coolDownMs || now < attemptedAt

  return {
    get status () { return { keys: keys.length, fetchedAt, failure } },
    async for (kid, now) {
      const known = keys.length > 0 && (kid === undefined || keys.some(key => key.kid === kid))
      const old = fetchedAt === undefined || now - fetchedAt >= freshMs
      if (flight === undefined && (!known || old) && cooled(now)) flight = refresh(now)
      // Keys that are merely old are good enough for this call.
      if (flight !== undefined && !known) await flight
      return keys
    }
  }
}
