import type { Logger } from 'pino'
import type { Client } from '../domain/client.js'
import type { GateExchange } from './stages.js'

/** When a key was last used, and how often it came from outside the networks of its policy. */
export interface KeyUse {
  readonly client: string
  readonly keyId: string
  readonly method: string
  /** epoch milliseconds of its last use since the start; absent: it only came from outside */
  readonly usedAt?: number
  readonly outside: number
}

/** More keys than any policies folder holds; workloads have one for each subject. */
const MOST = 20_000
const SAY_AGAIN_MS = 3_600_000
const MOST_SAID = 1000

/** Which keys are in use, and which are where they should not be: a stolen key shows there first. In bounded memory. */
export class KeyUses {
  readonly #log: Logger
  readonly #uses = new Map<string, { -readonly [K in keyof KeyUse]: KeyUse[K] }>()
  /** when an address was last told of, by key and address */
  readonly #said = new Map<string, number>()

  constructor (log: Logger) { this.#log = log }

  get all (): Iterable<KeyUse> { return this.#uses.values() }

  /** A finished exchange. What proved who its sender is counts as used, whatever became of the call. */
  note ({ client, rejection, source, time }: GateExchange): void {
    if (client === undefined) return
    const use = this.#of(client)
    if (rejection?.code !== 'network') { use.usedAt = time; return }
    use.outside++
    this.#say(client, source, time)
  }

  #of ({ id, keyId, method }: Client): { -readonly [K in keyof KeyUse]: KeyUse[K] } {
    const name = `${id} ${keyId}`
    let use = this.#uses.get(name)
    if (use === undefined) {
      if (this.#uses.size >= MOST) this.#uses.delete(this.#uses.keys().next().value!)
      this.#uses.set(name, use = { client: id, keyId, method, outside: 0 })
    }
    return use
  }

  /** Once an hour for each key and address: the audit log has every one. */
  #say ({ id, keyId, method }: Client, source: string, time: number): void {
    const name = `${id} ${keyId} ${source}`
    const before = this.#said.get(name)
    if (before !== undefined && time - before < SAY_AGAIN_MS && time >= before) return
    this.#said.delete(name)
    if (this.#said.size >= MOST_SAID) this.#said.delete(this.#said.keys().next().value!)
    this.#said.set(name, time)
    this.#log.warn({ alarm: 'key_outside_network', client: id, key: keyId, method, source }, 'a valid key came from outside the networks of its policy and was refused: if this address is not the client\'s, the key is in wrong hands')
  }
}
