import type { Logger } from 'pino'
import type { SecretStores, StoreNotice } from '../config/secret-stores.js'

/** A store that could not be asked is asked again sooner than the schedule says, milliseconds. */
const AGAIN_MS = 10_000
/** A schedule that keeps every gate of a fleet apart from the others. */
const JITTER = 0.1

export interface SecretRefreshParts {
  readonly stores: SecretStores
  /** called when a load would see other secrets than the last one */
  readonly onChange: () => void
  /** monotonic milliseconds */
  readonly clock: () => number
  readonly random: () => number
}

/** Reads the secrets that other services keep again: on a schedule, and at once when Okta refuses what the gate presents. */
export class SecretRefresh {
  readonly #parts: SecretRefreshParts
  #timer: NodeJS.Timeout | undefined
  #readAt = -Infinity
  #running: Promise<void> | undefined
  #closed = false

  constructor (parts: SecretRefreshParts) { this.#parts = parts }

  /** After each load: what is asked for, and how often, may have changed. */
  loaded (): void { this.#plan() }

  /** Okta has refused a credential: perhaps it was replaced. Not more often than every ten seconds. */
  soon (): void {
    const { stores, clock } = this.#parts
    if (this.#closed || stores.refreshMs === undefined || clock() - this.#readAt < AGAIN_MS) return
    this.now().catch(() => {})
  }

  /** Reads everything again now. Never rejects. */
  async now (): Promise<void> {
    this.#running ??= this.#read().finally(() => { this.#running = undefined; this.#plan() })
    await this.#running
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#parts.stores.close()
  }

  async #read (): Promise<void> {
    const { stores, clock, onChange } = this.#parts
    this.#readAt = clock()
    if (await stores.refresh() && !this.#closed) onChange()
  }

  #plan (): void {
    const { stores, random } = this.#parts
    clearTimeout(this.#timer)
    const { refreshMs } = stores
    if (this.#closed || refreshMs === undefined) return
    const ms = (stores.failing ? Math.min(refreshMs, AGAIN_MS) : refreshMs) * (1 - JITTER * random())
    this.#timer = setTimeout(() => { this.now().catch(() => {}) }, ms).unref()
  }
}

/** Tells operators what became of a secret when it was read again. */
export function logStoreNotice (log: Logger, notice: StoreNotice): void {
  switch (notice.kind) {
    case 'kept': log.error({ alarm: 'secret_kept', secret: notice.name, reason: notice.reason }, 'a secret could not be read again: its last value stays in use'); return
    case 'back': log.info({ secret: notice.name }, 'a secret can be read again'); return
    case 'changed': log.info({ secret: notice.name }, 'a secret has changed')
  }
}
