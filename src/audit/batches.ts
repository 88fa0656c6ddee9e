import { SendFault, type Sender } from './deliver.js'
import type { Timing } from './lines.js'

/** Lines that may be lost: kept in memory, up to a number, and sent in batches from time to time. */
export interface Batches<T> {
  /** Takes one, or counts it as dropped. Never throws, never waits. */
  push (item: T): void
  readonly waiting: number
  readonly sent: number
  readonly dropped: number
  /** why the collector takes nothing at the moment */
  readonly error?: string
  /** Sends what waits, for at most `deadlineMs`. */
  close (deadlineMs: number): Promise<void>
}

const MOST_WAITING = 4096
const BATCH = 512
const PERIOD_MS = 5_000
const LONGEST_PAUSE_MS = 60_000

/**
 * @param write makes an item's text, when it is sent
 * @param timing time as an argument; `later` is called once for each period in which something waits
 */
export function createBatches<T> (sender: Sender, write: (item: T) => string, timing: Timing): Batches<T> {
  let queue: T[] = []
  let sent = 0
  let dropped = 0
  let error: string | undefined
  let pause = 0
  let timer: { cancel (): void } | undefined
  let sending: Promise<void> | undefined
  let closed = false

  function plan (ms: number): void {
    if (closed || sending !== undefined) return
    timer ??= timing.later(() => { timer = undefined; flush() }, ms)
  }

  function flush (): void {
    if (sending !== undefined || queue.length === 0) return
    sending = send().finally(() => {
      sending = undefined
      if (queue.length > 0) plan(pause > 0 ? pause : queue.length >= BATCH ? 0 : PERIOD_MS)
    })
  }

  /** One batch. It stays in its place until it was taken. */
  async function send (): Promise<void> {
    const batch = queue.slice(0, BATCH)
    try {
      await sender.send(batch.map(write))
      sent += batch.length
      error = undefined
      pause = 0
    } catch (thrown) {
      error = thrown instanceof SendFault ? thrown.code : String((thrown as { code?: unknown }).code ?? (thrown as Error).name)
      if (!(thrown instanceof SendFault) || !thrown.permanent) {
        pause = Math.min(LONGEST_PAUSE_MS, pause === 0 ? PERIOD_MS : pause * 2)
        return
      }
      dropped += batch.length
    }
    queue = queue.slice(batch.length)
  }

  const mayGoOn = (): boolean => queue.length > 0 && error === undefined

  return {
    push (item) {
      if (closed || queue.length >= MOST_WAITING) { dropped++; return }
      queue.push(item)
      if (queue.length === BATCH && pause === 0) { timer?.cancel(); timer = undefined; plan(0) } else plan(PERIOD_MS)
    },
    get waiting () { return queue.length },
    get sent () { return sent },
    get dropped () { return dropped },
    get error () { return error },
    async close (deadlineMs) {
      closed = true
      timer?.cancel()
      const end = timing.now() + deadlineMs
      let over: { cancel (): void } | undefined
      const late = new Promise<void>(resolve => { over = timing.later(resolve, deadlineMs) })
      await Promise.race([sending, late])
      while (mayGoOn() && timing.now() < end) {
        flush()
        await Promise.race([sending, late])
      }
      over?.cancel()
      dropped += queue.length
      queue = []
      sender.close()
    }
  }
}
