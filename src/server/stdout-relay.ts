import type { Readable } from 'node:stream'
import { stdoutSink } from '../audit/stdout.js'
import type { Sink } from '../audit/lines.js'

const NEWLINE = 0x0a
/** How often a standstill is looked at. */
const LOOK_MS = 100
const CLOSE_MS = 1000

/**
 * Writes what the workers write to their standard output to this process's own, whole lines only: written by several
 * processes into one pipe, long lines would run into each other. While the reader stands still the workers are not read
 * either, and told so: they refuse writes then, as a single process does.
 */
export class StdoutRelay {
  readonly #told: (healthy: boolean) => void
  readonly #streams = new Set<Readable>()
  #sink: Sink | undefined
  #still: NodeJS.Timeout | undefined

  constructor (told: (healthy: boolean) => void) {
    this.#told = told
  }

  /** @returns what to call when the process has ended */
  attach (stream: Readable): () => void {
    let rest: Buffer = Buffer.alloc(0)
    this.#streams.add(stream)
    if (this.#still !== undefined) stream.pause()
    stream.on('data', (chunk: Buffer) => {
      const end = chunk.lastIndexOf(NEWLINE) + 1
      if (end === 0) { rest = Buffer.concat([rest, chunk]); return }
      this.#write(Buffer.concat([rest, chunk.subarray(0, end)]).toString('utf8'))
      rest = Buffer.from(chunk.subarray(end))
    })
    stream.on('error', () => {})
    // The last words come after the process has ended; a line that it could not finish is ended here.
    stream.on('end', () => {
      this.#streams.delete(stream)
      if (rest.length > 0) this.#write(`${rest.toString('utf8')}\n`)
    })
    return () => { if (this.#still !== undefined) stream.resume() }
  }

  async close (): Promise<void> {
    clearInterval(this.#still)
    // The processes have ended: what they have left in their pipes is read to its end.
    const ends = [...this.#streams].map(async stream => { stream.resume(); await new Promise(resolve => { stream.once('close', resolve) }) })
    await Promise.race([Promise.all(ends), new Promise(resolve => { setTimeout(resolve, CLOSE_MS).unref() })])
    await this.#sink?.close()
  }

  #write (lines: string): void {
    this.#sink ??= stdoutSink()
    this.#sink.write(lines)
    if (this.#still === undefined && this.#isFull()) this.#standStill()
  }

  #isFull (): boolean {
    const { healthy, spooled } = this.#sink!.status
    return !healthy || spooled > 100
  }

  #standStill (): void {
    let healthy = true
    for (const stream of this.#streams) stream.pause()
    this.#still = setInterval(() => {
      if (healthy !== this.#sink!.status.healthy) this.#told(healthy = !healthy)
      if (this.#isFull()) return
      clearInterval(this.#still)
      this.#still = undefined
      for (const stream of this.#streams) stream.resume()
    }, LOOK_MS)
  }
}
