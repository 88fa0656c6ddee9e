import { writeSync } from 'node:fs'
import { pino, type Logger } from 'pino'

/** What may wait for a stderr that takes nothing, in characters. */
const MOST_WAITING = 65_536
const RETRY_MS = 250

/**
 * Writes lines as they come, and neither waits nor fails: pino's own destination throws when a disk is full, which ends
 * the process, and stands still with a reader that does. What is taken later is kept up to a bound; what is not is
 * counted, and the count said when lines are taken again.
 */
export class PatientLines {
  readonly #write: (bytes: Buffer) => number
  readonly #later: (run: () => void, ms: number) => void
  readonly #lost: (lines: number) => string
  /** lines that have not been written; of the first, what is left of it */
  #waiting: Buffer[] = []
  #characters = 0
  #dropped = 0
  #scheduled = false

  /**
   * @param write takes bytes and says how many it took; throws when it takes none
   * @param lost the line that says how many were lost
   */
  constructor (write: (bytes: Buffer) => number, later: (run: () => void, ms: number) => void, lost: (lines: number) => string) {
    this.#write = write
    this.#later = later
    this.#lost = lost
  }

  write (line: string): void {
    if (this.#characters > 0 && this.#characters + line.length > MOST_WAITING) { this.#dropped++; return }
    this.#push(line)
    this.#flush()
  }

  #push (line: string): void {
    this.#waiting.push(Buffer.from(line))
    this.#characters += line.length
  }

  #flush (): void {
    try {
      while (this.#waiting.length > 0) {
        const [line] = this.#waiting as [Buffer]
        const taken = this.#write(line)
        if (taken < line.length) { this.#waiting[0] = line.subarray(taken); continue }
        this.#waiting.shift()
        if (this.#waiting.length > 0) continue
        this.#characters = 0
        if (this.#dropped === 0) return
        this.#push(this.#lost(this.#dropped))
        this.#dropped = 0
      }
    } catch {
      if (this.#scheduled) return
      this.#scheduled = true
      this.#later(() => { this.#scheduled = false; this.#flush() }, RETRY_MS)
    }
  }
}

/** The operators' log, on stderr; NARROWGATE_LOG_LEVEL is its level at the start. @param base fields of every line */
export function operatorsLog (base: Readonly<Record<string, unknown>> | null): Logger {
  // Naming `process.stderr` makes Node set a pipe or socket to non-blocking (audit/stdout.ts does the same).
  const { fd } = process.stderr as NodeJS.WriteStream & { fd: 2 }
  process.stderr.on('error', () => {})
  const lines = new PatientLines(
    bytes => writeSync(fd, bytes),
    (run, ms) => { setTimeout(run, ms).unref() },
    lost => `${JSON.stringify({ level: 40, time: Date.now(), ...base, lost, msg: 'stderr took nothing for a while: so many lines of this log are lost' })}\n`
  )
  return pino({ level: process.env['NARROWGATE_LOG_LEVEL'] ?? 'info', base: base as Record<string, unknown> | null }, lines)
}
