import { gapLine } from './plain.js'

/** Where whole lines go. One per sink; audit/file.ts and audit/stdout.ts make them. */
export interface Sink {
  readonly name: string
  /** Takes one line, newline included. Never throws, never blocks. */
  write (line: string): void
  /** Writes what is waiting, as far as the target takes it now. Never throws. */
  flush (): void
  /** Opens the target anew (SIGHUP, log rotation) and writes what is waiting. */
  reopen (): void
  readonly status: SinkStatus
  /** Writes what is waiting, for at most `deadlineMs`, and lets the target go. */
  close (deadlineMs?: number): Promise<void>
}

export interface SinkStatus {
  /** false: the target refuses, or it has stood still for a second, or the queue is full */
  readonly healthy: boolean
  /** lines that the target has taken whole */
  readonly written: number
  /** lines that wait in memory */
  readonly spooled: number
  /** lines that were lost because the queue was full */
  readonly dropped: number
  /** of written and spooled: lines that are no events of this process, such as gaps and what an earlier one has left */
  readonly extra: number
  /** how much of the room for what waits is taken, 0 … 1 */
  readonly used: number
  /** lines that a collector refuses for what they hold; kept aside */
  readonly rejected?: number
  /** the system's code of the last error, e.g. ENOSPC */
  readonly error?: string
  /** why a collector takes nothing at the moment; lines are spooled */
  readonly collector?: string
}

/** What a sink writes to. */
export interface Target {
  /** Writes synchronously. Returns how many bytes were taken; throws with a `code` when none was. */
  write (bytes: string | Uint8Array): number
  /** Lets go of what is open; the next write opens the target anew and reports what fails. */
  reopen (): void
  /** true: the file was renamed or removed, writing on would write into the old one */
  moved? (): boolean
  close (): void
}

/** Time, as the batcher needs it. */
export interface Timing {
  /** epoch milliseconds */
  now (): number
  /** at the end of this turn of the event loop */
  soon (run: () => void): void
  later (run: () => void, ms: number): { cancel (): void }
}

export interface Bounds { readonly lines: number, readonly bytes: number }

const DEFAULT_BOUNDS: Bounds = { lines: 10_000, bytes: 8 * 1024 * 1024 }
const STALLED_MS = 1_000
const RETRY_FULL_MS = 10
const RETRY_ERROR_MS = 1_000
const CLOSE_DEADLINE_MS = 2_000
const NEWLINE = 0x0a

/** Bytes that a target has not taken yet. */
interface Batch { readonly bytes: Buffer, readonly lines: number, offset: number }

/**
 * Collects the lines of one turn of the event loop and writes them with one call, so that they are with
 * the operating system when the turn ends and survive the process. What the target does not take waits in a
 * bounded queue and is tried again: each second after an error, at once when a pipe is only full.
 */
export function createLines (name: string, target: Target, timing: Timing, bounds: Bounds = DEFAULT_BOUNDS): Sink {
  let text = ''
  let textLines = 0
  const queue: Batch[] = []
  let queuedLines = 0
  let queuedBytes = 0
  let scheduled = false
  let retry: { cancel (): void } | undefined
  let stalledSince: number | undefined
  let error: string | undefined
  let written = 0
  let dropped = 0
  let unreported = 0
  let gaps = 0
  let closed = false

  const isWaiting = () => queue.length > 0 || text !== ''
  const isFull = () => queuedLines + textLines >= bounds.lines || queuedBytes + text.length >= bounds.bytes
  const isHealthy = () => !closed && error === undefined && !isFull() &&
    (stalledSince === undefined || timing.now() - stalledSince < STALLED_MS)

  function write (line: string): void {
    if (closed || isFull()) { dropped++; unreported++; return }
    if (unreported > 0) reportGap()
    text += line
    textLines++
    if (scheduled) return
    scheduled = true
    timing.soon(() => { scheduled = false; if (retry === undefined) flush() })
  }

  function reportGap (): void {
    text += gapLine(unreported, timing.now())
    textLines++
    gaps++
    unreported = 0
  }

  function flush (): void {
    retry?.cancel()
    retry = undefined
    if (closed) return
    try {
      if (target.moved?.() === true) restart()
      if (queue.length === 0 && text !== '' && writeText()) return succeeded()
      enqueue()
      while (queue.length > 0) writeFirst()
      succeeded()
    } catch (thrown) {
      enqueue()
      failed(codeOf(thrown))
    }
  }

  /** The usual case without a copy. */
  function writeText (): boolean {
    const size = Buffer.byteLength(text)
    const taken = put(text)
    if (taken < size) {
      queue.push({ bytes: Buffer.from(text), lines: textLines, offset: taken })
      queuedBytes += size
      queuedLines += textLines
    } else {
      written += textLines
    }
    text = ''
    textLines = 0
    return taken >= size
  }

  function put (bytes: string | Uint8Array): number {
    const taken = target.write(bytes)
    if (taken === 0) throw Object.assign(new Error('nothing was taken'), { code: 'EAGAIN' })
    stalledSince = undefined
    return taken
  }

  function enqueue (): void {
    if (text === '') return
    const bytes = Buffer.from(text)
    queue.push({ bytes, lines: textLines, offset: 0 })
    queuedBytes += bytes.length
    queuedLines += textLines
    text = ''
    textLines = 0
  }

  function writeFirst (): void {
    const batch = queue[0]!
    batch.offset += put(batch.offset === 0 ? batch.bytes : batch.bytes.subarray(batch.offset))
    if (batch.offset < batch.bytes.length) return
    queue.shift()
    queuedBytes -= batch.bytes.length
    queuedLines -= batch.lines
    written += batch.lines
  }

  function succeeded (): void {
    error = undefined
    stalledSince = undefined
    if (unreported === 0) return
    reportGap()
    if (!scheduled) { scheduled = true; timing.soon(() => { scheduled = false; flush() }) }
  }

  function failed (code: string): void {
    const full = code === 'EAGAIN'
    error = full ? undefined : code
    if (full) stalledSince ??= timing.now()
    else stalledSince = undefined
    retry = timing.later(flush, full ? RETRY_FULL_MS : RETRY_ERROR_MS)
  }

  /** A new target has to begin with a whole line: the line that was cut is written again. */
  function restart (): void {
    const first = queue[0]
    if (first !== undefined && first.offset > 0) first.offset = first.bytes.lastIndexOf(NEWLINE, first.offset - 1) + 1
    target.reopen()
  }

  async function close (deadlineMs: number = CLOSE_DEADLINE_MS): Promise<void> {
    const deadline = timing.now() + deadlineMs
    flush()
    while (isWaiting() && timing.now() < deadline) {
      await new Promise<void>(resolve => { timing.later(resolve, RETRY_FULL_MS) })
      flush()
    }
    retry?.cancel()
    closed = true
    target.close()
  }

  return {
    name,
    write,
    flush,
    reopen () { restart(); flush() },
    get status () { return { healthy: isHealthy(), written, spooled: queuedLines + textLines, dropped, extra: gaps, used: Math.max((queuedLines + textLines) / bounds.lines, (queuedBytes + text.length) / bounds.bytes), error } },
    close
  }
}

/** The system's code of an error, e.g. ENOSPC. */
export function codeOf (thrown: unknown): string {
  const code = (thrown as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : 'EUNKNOWN'
}
