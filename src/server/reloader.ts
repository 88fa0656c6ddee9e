import type { Logger } from 'pino'
import type { Problem } from '../domain/problem.js'
import type { Loaded } from './load.js'
import { isUsable, type Usable } from './usable.js'
import type { Workers } from './workers.js'

/** What a reload came to. */
export interface ReloadReport {
  readonly swapped: boolean
  readonly problems: readonly Problem[]
}

export interface ReloaderParts {
  readonly log: Logger
  load (): Promise<Loaded>
  /** takes up what has been loaded @throws before anything has changed */
  swap (loaded: Usable): void
  /** what has been loaded can't be used */
  refused (loaded: Loaded): void
  workers (): Workers | undefined
  stopped (): boolean
}

/** Builds and checks a whole new snapshot and swaps it; a bad change is reported and ignored. */
export class Reloader {
  readonly #parts: ReloaderParts
  #running: Promise<ReloadReport> | undefined
  #again = false
  #refused = 0

  constructor (parts: ReloaderParts) { this.#parts = parts }

  /** How many reloads have changed nothing. */
  get refused (): number { return this.#refused }

  /** One at a time: a change that comes meanwhile is looked at afterwards. Never rejects. */
  async reload (): Promise<ReloadReport> {
    if (this.#running !== undefined) { this.#again = true; return await this.#running }
    this.#running = this.#untilQuiet()
    try {
      return await this.#running
    } finally {
      this.#running = undefined
    }
  }

  async #untilQuiet (): Promise<ReloadReport> {
    for (;;) {
      this.#again = false
      const report = await this.#once()
      if (!this.#again || this.#parts.stopped()) return report
    }
  }

  async #once (): Promise<ReloadReport> {
    const { log, load, swap, refused } = this.#parts
    const workers = this.#parts.workers()
    let loaded: Loaded
    try {
      loaded = await load()
      if (isUsable(loaded)) {
        const against = await workers?.prepare(loaded.recorded!) ?? []
        if (against.length > 0) throw new Error(against.join('; '))
        swap(loaded)
        workers?.commit()
        return { swapped: true, problems: loaded.problems }
      }
    } catch (error) {
      workers?.abandon()
      this.#refused++
      log.error({ err: error }, 'a reload failed; what was loaded before stays in force')
      return { swapped: false, problems: [] }
    }
    this.#refused++
    refused(loaded)
    return { swapped: false, problems: loaded.problems }
  }
}
