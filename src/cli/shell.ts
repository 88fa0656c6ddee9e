import { createInterface } from 'node:readline/promises'
import { buffer } from 'node:stream/consumers'
import { isatty } from 'node:tty'
import { UsageFault } from './usage.js'

/** Where a command writes: results on `out`, everything else on `err`. */
export interface Terminal {
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  /** whether `out` shows colours */
  readonly color: boolean
  readonly columns: number
}

/** Asks a person. */
export interface Prompt {
  readonly ask: (question: string) => Promise<string>
  readonly close: () => void
}

/** All that a command has of the world around it; a test gives one of its own. */
export interface Shell {
  readonly terminal: Terminal
  readonly environment: NodeJS.ProcessEnv
  /** epoch milliseconds */
  readonly now: () => number
  /** undefined: nobody is there to answer */
  readonly prompt?: () => Prompt
  /** standard input, to its end */
  readonly readInput: () => Promise<Buffer>
  /** Aborted by SIGINT and SIGTERM, which from the first call on no longer end the process by themselves. */
  readonly stopSignal: () => AbortSignal
}

const COLUMNS = 120

/** The shell of the running process. */
export function processShell (): Shell {
  const { env } = process
  // `process.stdout` is not named before something is written: naming it changes how a pipe behaves.
  const onTerminal = isatty(1)
  let stop: AbortController | undefined
  let guarded = false
  return {
    terminal: {
      out (text) {
        // `narrowgate check | head` closes the pipe early; that is no failure of the command.
        if (!guarded) process.stdout.on('error', () => {})
        guarded = true
        process.stdout.write(text)
      },
      err: text => { process.stderr.write(text) },
      color: onTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb',
      columns: onTerminal ? process.stdout.columns : COLUMNS
    },
    environment: env,
    now: Date.now,
    prompt: isatty(0) && isatty(2) ? openPrompt : undefined,
    readInput: () => buffer(process.stdin),
    stopSignal () {
      if (stop === undefined) {
        const controller = stop = new AbortController()
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { controller.abort() })
      }
      return stop.signal
    }
  }
}

/** Questions go to stderr: what is asked is no result. */
function openPrompt (): Prompt {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  const closed = new AbortController()
  lines.once('close', () => { closed.abort() })
  return {
    async ask (question) {
      try {
        return await lines.question(question, { signal: closed.signal })
      } catch {
        throw new UsageFault('given up: nothing was written')
      }
    },
    close: () => { lines.close() }
  }
}
