import { randomBytes } from 'node:crypto'
import { newKey } from '../clients/api-key.js'
import { PolicySchema } from '../policy/schema.js'
import { endOfDay } from '../policy/written.js'
import { EXIT } from './exit.js'
import type { Shell } from './shell.js'
import { UsageFault } from './usage.js'

const CLIENT_ID = new RegExp(PolicySchema.properties.client.pattern!)

/** A new key: what the client gets, and what its policy stores. */
export interface NewClientKey {
  readonly client: string
  readonly key: string
  /** 64 lower-case hex digits */
  readonly sha256: string
  /** an entry of `authenticate:` */
  readonly policyLine: string
}

/**
 * Makes a key for a client.
 *
 * @param expires last day of the key, YYYY-MM-DD; undefined: none
 * @param now epoch milliseconds
 * @throws UsageFault for an id that no policy could have, or a day that is none or is over
 */
export function makeClientKey (client: string, expires: string | undefined, now: number): NewClientKey {
  checkClientId(client)
  if (expires !== undefined) checkExpiry(expires, now)
  const { key, sha256 } = newKey(randomBytes)
  const until = expires === undefined ? '' : `, expires: ${expires}`
  return { client, key, sha256, policyLine: `- apiKey: { sha256: ${sha256}${until} }` }
}

/** @throws UsageFault when a policy could not have this `client:` */
export function checkClientId (client: string): void {
  if (!CLIENT_ID.test(client)) {
    throw new UsageFault('not an id for a client: letters, digits, dot, underscore and hyphen, beginning with a letter or digit, 64 at most')
  }
}

function checkExpiry (expires: string, now: number): void {
  const end = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(expires) ? endOfDay(expires) : undefined
  if (end === undefined) throw new UsageFault('--expires is not a day of the calendar: write YYYY-MM-DD; the key works to the end of that day (UTC)')
  if (end <= now) throw new UsageFault(`--expires is over: ${expires} ended at 24:00 UTC`)
}

/** `narrowgate keys new CLIENT`: the key, once, and the line for the policy. */
export async function newClientKey (shell: Shell, client: string, options: { expires?: string, json?: boolean }): Promise<number> {
  const { terminal } = shell
  const made = makeClientKey(client, options.expires, shell.now())
  if (options.json === true) {
    terminal.out(`${JSON.stringify(made, null, 2)}\n`)
    return EXIT.fine
  }
  terminal.out(`${made.key}\n${made.policyLine}\n`)
  terminal.err(`\nThe first line is the key of ${client}: it is shown once, only its hash is kept.\nThe second belongs under "authenticate:" in the policy of ${client}; two keys may stand there while you rotate.\n`)
  return EXIT.fine
}
