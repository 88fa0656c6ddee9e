import type { Worker } from 'node:cluster'
import type { Recorded } from '../config/recorded.js'
import type { Wait } from '../domain/rejection.js'
import type { Channel } from './channel.js'
import type { KnownIdentities } from './self-keeper.js'

/** What a worker gets when it joins. */
export interface Joined {
  readonly worker: number
  readonly tokenKey: string
  readonly self: KnownIdentities
  /** of the operators' log, when it was changed at run time */
  readonly level?: string
  /** the primary keeps the limits */
  readonly relayed: boolean
}

/** A set of files, counted by the primary: secrets that other services keep may differ where no file does. */
export type Numbered = Recorded & { readonly number: number }

/** May a worker serve what it has loaded, or is there something newer to load. */
export type Loading = 'serve' | 'again'

/** owner, value, epoch ms until which it is remembered */
export type Use = readonly [string, string, number]

/** whose failures: of a source, of a client; and which one */
export type Failed = readonly ['source' | 'client', string]
export type FailedAnswer = Wait | null

/** How a worker is. */
export interface WorkerStatus {
  readonly detail: Readonly<Record<string, unknown>>
  /** API tokens that it has presented: upstream, which of the upstream's, position, epoch ms */
  readonly used: ReadonlyArray<readonly [string, number, number, number]>
}

/** Bytes of text that one message carries at most, or about: a larger one would hold up both event loops. */
const PART_CHARACTERS = 262_144

/** Sends a set of files in parts, in order. Resolves when all of it is on its way. */
export async function sendRecorded (channel: Channel, { files, ...rest }: Numbered, worker: Worker): Promise<void> {
  let part: Array<Recorded['files'][number]> = []
  let size = 0
  channel.note('files', { ...rest, files: [] } satisfies Numbered)
  for (const file of files) {
    part.push(file)
    size += file[1]?.length ?? 0
    if (size < PART_CHARACTERS) continue
    channel.note('more files', part)
    part = []
    size = 0
    // The other side takes this in, and whoever waits here for an answer gets one.
    await new Promise(resolve => { setTimeout(resolve, 5) })
    if (!worker.isConnected()) throw new Error('the worker is gone')
  }
  channel.note('more files', part)
}

/** Puts the parts together again. */
export class Parts {
  #recorded: Numbered | undefined

  /** @returns true when that was one */
  take (topic: string, value: unknown): boolean {
    if (topic === 'files') this.#recorded = value as Numbered
    else if (topic === 'more files') this.#recorded = { ...this.#recorded!, files: [...this.#recorded!.files, ...value as Recorded['files']] }
    else return false
    return true
  }

  /** All parts are there: asked for after the last. */
  get whole (): Numbered { return this.#recorded! }
}
