import { statementLine, type ChainState, type Signer, type Statement } from './chain.js'
import { LineBytes } from './line-bytes.js'
import { codeOf, type Bounds, type Sink, type SinkStatus, type Timing } from './lines.js'
import { gapLine } from './plain.js'

/** The file was removed while it was open: what it held is lost, and what comes next belongs in a new one. */
export const REMOVED = 'ENOENT'

/** A file that grows, as the journal needs it. Every method may throw with a `code`. */
export interface Disk {
  /** Opens or creates the file; what it already holds. */
  open (): Opened
  /** Appends; returns how many bytes were taken, which may be fewer. The bytes are the caller's again afterwards. */
  write (bytes: Uint8Array): number
  /** Cuts the file back to `size` bytes. */
  cut (size: number): void
  /** Flushes to the disk off the event loop; `code` is the system's when that failed. */
  sync (done: (code?: string) => void): void
  /** true: another file stands under the path, or none. Looks once a second, or, `now`, at once */
  moved (now?: boolean): boolean
  /** Puts the file aside under a name with the time, so that the next open() creates a new one. */
  rotate (now: number): void
  close (): void
}

/** What a file held when it was opened. */
export interface Opened {
  readonly size: number
  /** epoch milliseconds when the file began */
  readonly since: number
  /** absent: the file is new, or has no chain that could be continued */
  readonly chain?: ChainState & { readonly chain: string, readonly file: number }
  /** bytes of an unfinished line that were cut off */
  readonly torn: number
}

export interface ChainOptions {
  readonly signer?: Signer
  readonly gate: string
  readonly newId: () => string
  /** a checkpoint was written: other sinks hold it too, as an anchor */
  readonly onCheckpoint?: (line: string) => void
}

export interface JournalOptions {
  readonly bounds?: Bounds
  readonly chain?: ChainOptions
  readonly maxBytes?: number
  readonly maxAgeMs?: number
  /** lines that a new file has to hold: intents of requests that are not over */
  readonly carry?: () => readonly string[]
  /** a line of the journal's own, or one that was carried over, is in the file or on its way */
  readonly onExtra?: (line: string) => void
  /** what was waiting has been tried */
  readonly onWritten?: () => void
}

/** A sink whose lines can be made durable. */
export interface DurableSink extends Sink {
  /** Takes a line; resolves with true when it is on the disk, with false when it can't be for now. */
  writeDurable (line: string): Promise<boolean>
}

const DEFAULT_BOUNDS: Bounds = { lines: 10_000, bytes: 8 * 1024 * 1024 }
const RETRY_MS = 1_000
const SYNC_DEADLINE_MS = 5_000
/** Flushes begin so long after one another, ms: under load each would serve one write or two, and costs as much as a call. */
const SYNC_EVERY_MS = 2
const CLOSE_DEADLINE_MS = 2_000
const CLOSE_POLL_MS = 10
/** Bytes of one write call. */
const CHUNK = 256 * 1024
const CHECKPOINT_LINES = 1_000
const CHECKPOINT_MS = 10_000

interface Chain { readonly id: string, readonly file: number, state: ChainState, unstated: number, statedAt: number }
interface Waiter { readonly line: number, readonly resolve: (durable: boolean) => void }

/**
 * Appends lines to a file: those of one turn of the event loop with one call, chained where that is wanted, and
 * flushed to the disk for those who wait, one flush for all. What the disk does not take waits in a bounded queue; a
 * line is either in the file whole or not at all. The file is put aside when it is large or old.
 */
export class Journal implements DurableSink {
  #pending: string[] = []
  #pendingBytes = 0
  #waiters: Waiter[] = []
  #accepted = 0
  #taken = 0
  #written = 0
  #dropped = 0
  #unreported = 0
  #gaps = 0
  #size = 0
  #since = 0
  #opened = false
  #closed = false
  #scheduled = false
  #syncing = false
  /** when the last flush began */
  #syncedAt = -Infinity
  /** the next flush waits for its time */
  #paced: { cancel (): void } | undefined
  #late = false
  /** why this file is left once what is in it is flushed; until then nothing more is written to it */
  #leaving: 'moved' | 'due' | undefined
  #error: string | undefined
  #retry: { cancel (): void } | undefined
  #chain: Chain | undefined
  /** a file was open before */
  #followed = false
  #checkpoint: { cancel (): void } | undefined
  readonly #packed = new LineBytes()
  readonly #bounds: Bounds

  constructor (readonly name: string, private readonly disk: Disk, private readonly timing: Timing, private readonly options: JournalOptions = {}) {
    this.#bounds = options.bounds ?? DEFAULT_BOUNDS
  }

  get status (): SinkStatus {
    return { healthy: !this.#closed && this.#error === undefined && !this.#late && !this.#isFull(), written: this.#written, spooled: this.#pending.length, dropped: this.#dropped, extra: this.#gaps, used: Math.max(this.#pending.length / this.#bounds.lines, this.#pendingBytes / this.#bounds.bytes), error: this.#error ?? (this.#late ? 'ETIMEDOUT' : undefined) }
  }

  /** @returns false: there was no room, it is counted as dropped */
  write (line: string): boolean {
    if (this.#closed || this.#isFull()) { this.#dropped++; this.#unreported++; return false }
    if (this.#unreported > 0) this.#reportGap()
    this.#push(line)
    this.#schedule()
    return true
  }

  async writeDurable (line: string): Promise<boolean> {
    const { healthy } = this.status
    if (!this.write(line) || !healthy) return false
    return await new Promise(resolve => { this.#waiters.push({ line: this.#accepted, resolve }) })
  }

  flush (): void {
    this.#retry?.cancel()
    this.#retry = undefined
    if (this.#closed) return
    try {
      if (this.#leaving === undefined) {
        this.#ready()
        this.#writePending()
        this.#error = undefined
        if (this.#unreported > 0) { this.#reportGap(); this.#schedule() }
      }
      this.#sync()
    } catch (thrown) {
      this.#failed(codeOf(thrown))
    }
    this.options.onWritten?.()
  }

  reopen (): void {
    try {
      if (this.#opened && !this.#isBusy && this.disk.moved(true)) this.#release()
    } catch { /* flush finds out */ }
    this.flush()
  }

  async close (deadlineMs: number = CLOSE_DEADLINE_MS): Promise<void> {
    const deadline = this.timing.now() + deadlineMs
    this.flush()
    while ((this.#pending.length > 0 || this.#isBusy) && this.timing.now() < deadline) {
      await new Promise<void>(resolve => { this.timing.later(resolve, CLOSE_POLL_MS) })
      if (!this.#isBusy) this.flush()
    }
    this.#end()
  }

  #end (): void {
    if (this.#closed) return
    if (this.#opened && this.#error === undefined) {
      try { this.#state('checkpoint') } catch { /* the chain ends without one; the next start goes on */ }
    }
    this.#retry?.cancel()
    this.#checkpoint?.cancel()
    this.#paced?.cancel()
    this.#closed = true
    this.#answer(this.#waiters.splice(0), false)
    if (!this.#syncing) this.disk.close()
  }

  #push (line: string): void {
    this.#pending.push(line)
    this.#pendingBytes += line.length
    this.#accepted++
  }

  #isFull (): boolean {
    return this.#pending.length >= this.#bounds.lines || this.#pendingBytes >= this.#bounds.bytes
  }

  #schedule (): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.timing.soon(() => { this.#scheduled = false; if (this.#retry === undefined) this.flush() })
  }

  #reportGap (): void {
    const gap = gapLine(this.#unreported, this.timing.now())
    this.#unreported = 0
    this.#gaps++
    this.#push(gap)
    this.options.onExtra?.(gap)
  }

  /** A flush is under way or about to be. */
  get #isBusy (): boolean { return this.#syncing || this.#paced !== undefined }

  /** Opens what is not open, and goes on in a new file when that is due. A file that is being flushed stays. */
  #ready (): void {
    if (this.#opened && !this.#isBusy) {
      if (this.disk.moved()) this.#release()
      else if (this.#isDue()) this.#rotate()
    }
    if (!this.#opened) this.#open()
  }

  #isDue (): boolean {
    return this.#isOld() && this.#pending.length > 0
  }

  #isOld (): boolean {
    const { maxBytes = Infinity, maxAgeMs = Infinity } = this.options
    return this.#size > 0 && (this.#size >= maxBytes || this.timing.now() - this.#since >= maxAgeMs)
  }

  /** Under writes that never end one flush follows the other: such a file could be neither followed nor put aside. */
  #whyLeave (): 'moved' | 'due' | undefined {
    try {
      return this.disk.moved() ? 'moved' : this.#isOld() ? 'due' : undefined
    } catch {
      return undefined
    }
  }

  #rotate (): void {
    this.#state('end')
    this.disk.rotate(this.timing.now())
    this.#release()
  }

  #release (): void {
    this.#opened = false
    this.disk.close()
  }

  #open (): void {
    const before = this.#chain
    let found = this.disk.open()
    this.#opened = true
    try {
      if (this.options.chain !== undefined && found.size > 0 && found.chain === undefined) {
        // Lines without a chain, or a damaged end: kept, and not mixed with what can be verified.
        this.disk.rotate(this.timing.now())
        this.disk.close()
        found = this.disk.open()
      }
      this.#size = found.size
      this.#since = found.since
      if (this.options.chain !== undefined) this.#goOn(found, before)
      if (found.torn > 0) this.#append(`${JSON.stringify({ event: 'narrowgate.torn', version: 1, bytes: found.torn, time: new Date(this.timing.now()).toISOString() })}\n`)
      // Only a file that follows another: what was open at a start is what recovery is about.
      if (this.#followed) this.#carry()
      this.#followed = true
    } catch (thrown) {
      this.#chain = before
      this.#release()
      throw thrown
    }
  }

  /** Intents that wait to be written come in their turn, not before what was recorded earlier. */
  #carry (): void {
    const waiting = new Set(this.#pending)
    for (const line of this.options.carry?.() ?? []) if (!waiting.has(line)) this.#append(line)
  }

  #goOn ({ chain: known, size }: Opened, before: Chain | undefined): void {
    if (known !== undefined && size > 0) this.#chain = { id: known.chain, file: known.file, state: { seq: known.seq, hash: known.hash }, unstated: 0, statedAt: this.timing.now() }
    else this.#begin(known === undefined ? before : { id: known.chain, file: known.file, state: { seq: known.seq, hash: known.hash } })
  }

  #begin (before: Pick<Chain, 'id' | 'file' | 'state'> | undefined): void {
    const { newId } = this.options.chain!
    this.#chain = { id: before?.id ?? newId(), file: (before?.file ?? 0) + 1, state: before?.state ?? { seq: 0, hash: '' }, unstated: 0, statedAt: this.timing.now() }
    this.#state('start')
  }

  /** Writes a statement of the chain's state. */
  #state (kind: Statement['kind']): void {
    const chain = this.#chain
    if (chain === undefined || (kind === 'checkpoint' && chain.unstated === 0)) return
    const { signer, gate, onCheckpoint } = this.options.chain!
    const now = this.timing.now()
    const line = statementLine({ kind, chain: chain.id, file: chain.file, ...chain.state, time: now, gate }, signer)
    this.#append(line)
    chain.unstated = 0
    chain.statedAt = now
    onCheckpoint?.(line)
  }

  /** One line outside the queue, at once. */
  #append (line: string): void {
    this.#put([line])
    this.options.onExtra?.(line)
  }

  #writePending (): void {
    while (this.#pending.length > 0) {
      let bytes = 0
      let count = 0
      while (count < this.#pending.length && (count === 0 || bytes + this.#pending[count]!.length <= CHUNK)) bytes += this.#pending[count++]!.length
      const lines = count === this.#pending.length ? this.#pending : this.#pending.slice(0, count)
      let whole = 0
      try {
        whole = this.#put(lines)
      } catch (thrown) {
        this.#done((thrown as { whole?: number }).whole ?? 0)
        throw thrown
      }
      this.#done(whole)
    }
    const chain = this.#chain
    if (chain === undefined || chain.unstated === 0) return
    if (chain.unstated >= CHECKPOINT_LINES || this.timing.now() - chain.statedAt >= CHECKPOINT_MS) this.#state('checkpoint')
    else this.#checkpoint ??= this.timing.later(() => { this.#checkpoint = undefined; this.flush() }, CHECKPOINT_MS)
  }

  #done (lines: number): void {
    if (lines === 0) return
    const gone = lines === this.#pending.length ? this.#pending : this.#pending.slice(0, lines)
    this.#pending = lines === this.#pending.length ? [] : this.#pending.slice(lines)
    for (const line of gone) this.#pendingBytes -= line.length
    this.#written += lines
    this.#taken += lines
  }

  /**
   * Writes lines, all of them or, with a throw that says how many (`whole`), those that were taken whole; the rest of a
   * line that was cut is cut off again.
   */
  #put (lines: readonly string[]): number {
    const chain = this.#chain
    const before = chain?.state
    const packed = this.#packed
    packed.clear()
    for (const line of lines) {
      if (chain === undefined) packed.add(line)
      else chain.state = packed.addChained(line, chain.state)
    }
    let taken = 0
    try {
      taken = this.disk.write(packed.bytes)
      if (taken === packed.size) {
        this.#size += taken
        if (chain !== undefined) chain.unstated += lines.length
        return lines.length
      }
      throw Object.assign(new Error('only a part was taken'), { code: 'ENOSPC' })
    } catch (thrown) {
      const whole = this.#keepWhole(before, taken)
      throw Object.assign(thrown as Error, { whole })
    }
  }

  #keepWhole (before: ChainState | undefined, taken: number): number {
    const chain = this.#chain
    const { ends, states } = this.#packed
    let whole = 0
    while (whole < ends.length && ends[whole]! <= taken) whole++
    const good = whole === 0 ? 0 : ends[whole - 1]!
    if (chain !== undefined) {
      chain.state = whole === 0 ? before! : states[whole - 1]!
      chain.unstated += whole
    }
    this.#size += good
    if (taken > good) this.disk.cut(this.#size)
    return whole
  }

  #failed (code: string): void {
    this.#error = code
    this.#leaving = undefined
    this.#paced?.cancel()
    this.#paced = undefined
    this.#answer(this.#waiters.splice(0), false)
    this.#retry = this.timing.later(() => { this.flush() }, RETRY_MS)
  }

  /** One flush for all who wait; those who come meanwhile get the next. */
  #sync (): void {
    if (this.#isBusy || this.#waiters.length === 0 || this.#waiters[0]!.line > this.#taken) return
    const now = this.timing.now()
    const early = this.#syncedAt + SYNC_EVERY_MS - now
    // More than that is a clock that has jumped.
    if (early > 0 && early <= SYNC_EVERY_MS) {
      this.#paced = this.timing.later(() => {
        this.#paced = undefined
        try { this.#sync() } catch (thrown) { this.#failed(codeOf(thrown)) }
      }, early)
      return
    }
    this.#syncedAt = now
    this.#syncing = true
    const upTo = this.#taken
    const deadline = this.timing.later(() => {
      this.#late = true
      this.#leaving = undefined
      this.#answer(this.#waiters.splice(0), false)
    }, SYNC_DEADLINE_MS)
    this.disk.sync(code => {
      deadline.cancel()
      this.#syncing = false
      this.#late = false
      if (this.#closed) { this.disk.close(); return }
      if (code === REMOVED) {
        this.#leaving = undefined
        this.#release()
        this.#answer(this.#waiters.splice(0), false)
        this.flush()
        return
      }
      if (code !== undefined) { this.#failed(code); return }
      const waiting = this.#waiters
      this.#waiters = waiting.filter(waiter => waiter.line > upTo)
      this.#answer(waiting.filter(waiter => waiter.line <= upTo), true)
      if (this.#waiters.length > 0 && this.#waiters[0]!.line <= this.#taken) {
        this.#leaving ??= this.#whyLeave()
        this.#sync()
        return
      }
      if (this.#leaving === undefined) return
      if (this.#leaving === 'moved') this.#release()
      this.#leaving = undefined
      this.flush()
    })
  }

  #answer (waiters: readonly Waiter[], durable: boolean): void {
    for (const { resolve } of waiters) resolve(durable)
  }
}
