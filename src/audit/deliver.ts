import type { Timing } from './lines.js'

/** Takes lines to a collector. Throws a SendFault, or anything else for "not now". */
export interface Sender {
  send (lines: readonly string[]): Promise<void>
  close (): void
}

/** A collector did not take lines. */
export class SendFault extends Error {
  /** @param permanent these lines will never be taken: trying again is of no use */
  constructor (readonly code: string, readonly permanent: boolean) {
    super(code)
  }
}

/** Lines that wait for a collector, oldest first. */
export interface Backlog {
  /** the oldest lines; undefined when nothing waits */
  next (): Promise<Waiting | undefined>
  /** These were taken: forgotten. */
  done (waiting: Waiting): Promise<void>
  /** These will never be taken: kept aside. */
  reject (lines: readonly string[]): Promise<void>
}

export interface Waiting { readonly lines: readonly string[], readonly bytes: number }

export interface Delivery {
  /** There may be something to send. */
  wake (): void
  readonly delivered: number
  readonly rejected: number
  /** why nothing is taken at the moment */
  readonly error?: string
  /** Stops; sends what waits, for at most `deadlineMs`. */
  stop (deadlineMs: number): Promise<void>
}

const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 30_000

/**
 * Sends what waits, in order, one batch at a time; the next goes only when the one before it was taken. Pauses grow to
 * half a minute. A batch that a collector refuses for what it holds is halved until the line is found that is at fault.
 *
 * @param random 0..1, so that several gates do not knock at once
 */
export function createDelivery (backlog: Backlog, sender: Sender, timing: Timing, random: () => number): Delivery {
  let delivered = 0
  let rejected = 0
  let error: string | undefined
  let pause = 0
  const state = { stopped: false }
  let running: Promise<void> | undefined
  let again = false
  let wait: { end: () => void } | undefined

  async function run (): Promise<void> {
    do {
      again = false
      for (let waiting = await backlog.next(); waiting !== undefined && !state.stopped; waiting = await backlog.next()) {
        try {
          const taken = await sendAll(waiting.lines)
          await backlog.done(waiting)
          delivered += taken
          rejected += waiting.lines.length - taken
          error = undefined
          pause = 0
        } catch (thrown) {
          error = thrown instanceof SendFault ? thrown.code : String((thrown as { code?: unknown }).code ?? (thrown as Error).name)
          await rest()
        }
      }
    } while (again && !state.stopped)
  }

  /** How many were taken; the rest was put aside. */
  async function sendAll (lines: readonly string[]): Promise<number> {
    try {
      await sender.send(lines)
      return lines.length
    } catch (thrown) {
      if (!(thrown instanceof SendFault) || !thrown.permanent) throw thrown
      if (lines.length === 1) {
        await backlog.reject(lines)
        return 0
      }
      const half = Math.ceil(lines.length / 2)
      return await sendAll(lines.slice(0, half)) + await sendAll(lines.slice(half))
    }
  }

  async function rest (): Promise<void> {
    pause = Math.min(LONGEST_PAUSE_MS, pause === 0 ? FIRST_PAUSE_MS : pause * 2)
    await new Promise<void>(resolve => {
      const timer = timing.later(resolve, pause * (0.5 + random() / 2))
      wait = { end () { timer.cancel(); resolve() } }
    })
    wait = undefined
  }

  function wake (): void {
    if (state.stopped) return
    again = true
    running ??= run().catch((thrown: unknown) => { error = String((thrown as { code?: unknown }).code ?? (thrown as Error).name) })
      .then(() => { running = undefined; if (again && !state.stopped && error === undefined) wake() })
  }

  return {
    wake,
    get delivered () { return delivered },
    get rejected () { return rejected },
    get error () { return error },
    async stop (deadlineMs) {
      if (error === undefined) wake()
      const late = new Promise<void>(resolve => { timing.later(resolve, error === undefined ? deadlineMs : 0) })
      await Promise.race([running, late])
      state.stopped = true
      wait?.end()
      sender.close()
      await Promise.race([running, new Promise<void>(resolve => { timing.later(resolve, 200) })])
    }
  }
}
