import { mkdirSync, readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { appendFile, open } from 'node:fs/promises'
import { join } from 'node:path'
import { createDelivery, type Backlog, type Delivery, type Sender, type Waiting } from './deliver.js'
import { fileDisk, rotatedFiles } from './file.js'
import { Journal, type DurableSink } from './journal.js'
import { codeOf, type SinkStatus } from './lines.js'
import { gapLine } from './plain.js'
import { processTiming } from './timing.js'

/** Size at which a spool goes on in a new file; read ones are removed whole. */
const SEGMENT_BYTES = 4 * 1024 * 1024
const BATCH_BYTES = 512 * 1024
const BATCH_LINES = 500
const CLOSE_DEADLINE_MS = 2_000
/** Above this part of the spool's limit writes are refused: the rest is for what is under way, and for reads. */
const SOFT_PART = 0.9

/** How far the collector has taken the lines: a file by its inode, which a rename keeps. */
interface Cursor { readonly ino: number, readonly offset: number }

interface Segment { readonly path: string, readonly ino: number }

export interface SpoolOptions {
  /** folder of this sink's own, made with mode 0700 */
  readonly folder: string
  readonly maxBytes: number
  readonly carry?: () => readonly string[]
}

/**
 * A sink whose lines go to a collector by way of files: appended at once, sent in order and removed when they were
 * taken, at least once. What a crash or an outage has left is sent by the next start. Full at `maxBytes`; not healthy
 * from nine tenths of that on.
 */
export class Spool implements DurableSink {
  readonly #path: string
  readonly #journal: Journal
  readonly #delivery: Delivery
  #waiting: number
  #extra: number
  #bytes: number
  #dropped = 0
  #unreported = 0
  #cursor: Cursor

  constructor (readonly name: string, private readonly options: SpoolOptions, sender: Sender, random: () => number = Math.random) {
    mkdirSync(options.folder, { recursive: true, mode: 0o700 })
    this.#path = join(options.folder, 'events.jsonl')
    this.#cursor = readCursor(join(options.folder, 'cursor.json'))
    const { lines, bytes } = this.#measure()
    this.#waiting = lines
    this.#extra = lines
    this.#bytes = bytes
    this.#delivery = createDelivery(this.#backlog(), sender, processTiming, random)
    this.#journal = new Journal(name, fileDisk(this.#path), processTiming, { maxBytes: SEGMENT_BYTES, carry: options.carry, onExtra: line => { this.#extra++; this.#count(line) }, onWritten: () => { this.#delivery.wake() } })
    this.#delivery.wake()
  }

  get status (): SinkStatus {
    const { healthy, error, used } = this.#journal.status
    return {
      healthy: healthy && this.#bytes < this.options.maxBytes * SOFT_PART,
      written: this.#delivery.delivered,
      spooled: this.#waiting,
      dropped: this.#dropped,
      extra: this.#extra,
      used: Math.max(used, this.#bytes / this.options.maxBytes),
      rejected: this.#delivery.rejected,
      error: error ?? (this.#bytes >= this.options.maxBytes * SOFT_PART ? 'ENOSPC' : undefined),
      collector: this.#delivery.error
    }
  }

  write (line: string): void {
    if (this.#takes(line) && !this.#journal.write(line)) this.#isLost(line)
  }

  async writeDurable (line: string): Promise<boolean> {
    const { healthy } = this.status
    if (!this.#takes(line)) return false
    const { dropped } = this.#journal.status
    const durable = this.#journal.writeDurable(line)
    if (this.#journal.status.dropped > dropped) this.#isLost(line)
    return await durable && healthy
  }

  flush (): void { this.#journal.flush() }

  reopen (): void { this.#journal.reopen() }

  async close (deadlineMs: number = CLOSE_DEADLINE_MS): Promise<void> {
    this.#journal.flush()
    await this.#delivery.stop(deadlineMs)
    await this.#journal.close(deadlineMs)
  }

  #takes (line: string): boolean {
    const bytes = Buffer.byteLength(line)
    if (this.#bytes + bytes > this.options.maxBytes) { this.#dropped++; this.#unreported++; return false }
    if (this.#unreported > 0) this.#reportGap()
    this.#count(line)
    return true
  }

  /** The file could not be written for so long that the queue in front of it is full; it says so itself. */
  #isLost (line: string): void {
    this.#bytes -= Buffer.byteLength(line)
    this.#waiting--
    this.#dropped++
  }

  #count (line: string): void {
    this.#bytes += Buffer.byteLength(line)
    this.#waiting++
  }

  /** Where lines are missing, the log itself says so. */
  #reportGap (): void {
    const gap = gapLine(this.#unreported, processTiming.now())
    this.#unreported = 0
    this.#extra++
    this.#count(gap)
    if (!this.#journal.write(gap)) this.#isLost(gap)
  }

  /** The files, oldest first, the one that grows last. */
  #files (): Segment[] {
    return [...rotatedFiles(this.#path), this.#path].flatMap(path => {
      const stats = statSync(path, { throwIfNoEntry: false })
      return stats === undefined ? [] : [{ path, ino: stats.ino }]
    })
  }

  /** The files that are not wholly taken, and where to go on in the first. */
  #unread (): { files: Segment[], read: Segment[], offset: number } {
    const files = this.#files()
    const at = files.findIndex(({ ino }) => ino === this.#cursor.ino)
    return at < 0 ? { files, read: [], offset: 0 } : { files: files.slice(at), read: files.slice(0, at), offset: this.#cursor.offset }
  }

  #measure (): { lines: number, bytes: number } {
    const { files, offset } = this.#unread()
    let lines = 0
    let bytes = 0
    files.forEach(({ path }, i) => {
      const text = readFileSync(path).subarray(i === 0 ? offset : 0)
      bytes += text.lastIndexOf(0x0a) + 1
      for (let end = text.indexOf(0x0a); end >= 0; end = text.indexOf(0x0a, end + 1)) lines++
    })
    return { lines, bytes }
  }

  #backlog (): Backlog {
    let end: Cursor = this.#cursor
    return {
      next: async () => {
        for (;;) {
          const { files, offset } = this.#unread()
          const [first, second] = files
          if (first === undefined) return undefined
          const batch = await readLines(first.path, first.ino, offset)
          if (batch === 'renamed') continue
          if (batch !== undefined) {
            end = { ino: first.ino, offset: offset + batch.bytes }
            return batch
          }
          if (second === undefined) return undefined
          this.#moveTo({ ino: second.ino, offset: 0 })
        }
      },
      done: async ({ lines, bytes }) => {
        this.#moveTo(end)
        this.#waiting -= lines.length
        this.#bytes -= bytes
      },
      reject: async lines => { await appendFile(join(this.options.folder, 'rejected.jsonl'), lines.map(line => `${line}\n`).join(''), { mode: 0o600 }) }
    }
  }

  #moveTo (cursor: Cursor): void {
    this.#cursor = cursor
    const path = join(this.options.folder, 'cursor.json')
    try {
      writeFileSync(`${path}.new`, JSON.stringify(cursor), { mode: 0o600 })
      renameSync(`${path}.new`, path)
    } catch (error) {
      // A full disk: after a crash lines are sent a second time, which their ids tell. Removing files makes room.
      if (codeOf(error) === 'EUNKNOWN') throw error
    }
    for (const { path } of this.#unread().read) unlinkSync(path)
  }
}

function readCursor (path: string): Cursor {
  try {
    const { ino, offset } = JSON.parse(readFileSync(path, 'utf8')) as Partial<Cursor>
    return { ino: ino ?? 0, offset: offset ?? 0 }
  } catch {
    return { ino: 0, offset: 0 }
  }
}

/** Whole lines from an offset on; undefined when there is none. `renamed`: another file stands there now. */
async function readLines (path: string, ino: number, offset: number): Promise<Waiting | undefined | 'renamed'> {
  let handle
  try {
    handle = await open(path)
  } catch {
    return 'renamed'
  }
  try {
    if ((await handle.stat()).ino !== ino) return 'renamed'
    for (let size = BATCH_BYTES; ; size *= 2) {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(size), 0, size, offset)
      const found = wholeLines(buffer.subarray(0, bytesRead))
      if (found !== undefined || bytesRead < size) return found
    }
  } finally {
    await handle.close()
  }
}

function wholeLines (bytes: Buffer): Waiting | undefined {
  const lines: string[] = []
  let start = 0
  for (let end = bytes.indexOf(0x0a); end >= 0 && lines.length < BATCH_LINES; end = bytes.indexOf(0x0a, start)) {
    lines.push(bytes.toString('utf8', start, end))
    start = end + 1
  }
  return lines.length === 0 ? undefined : { lines, bytes: start }
}
