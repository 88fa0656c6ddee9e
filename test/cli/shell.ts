import { run } from '../../src/cli/run.js'
import type { Shell } from '../../src/cli/shell.js'

/** What a command printed and how it ended. */
export interface Ran { readonly code: number, readonly out: string, readonly err: string }

/** 2026-11-22, noon. */
export const NOW = Date.UTC(2026, 10, 22, 12)

export interface ShellOptions {
  readonly color?: boolean
  readonly environment?: NodeJS.ProcessEnv
  /** what a person types, line by line; absent: nobody is there */
  readonly typed?: readonly string[]
  readonly input?: string
  readonly now?: number
  readonly stop?: AbortSignal
  /** sees stderr as it is written */
  readonly onErr?: (text: string) => void
}

/** Runs `narrowgate …` in this process, with a terminal that is a pair of strings. */
export async function narrowgate (argv: readonly string[], options: ShellOptions = {}): Promise<Ran> {
  let out = ''
  let err = ''
  const lines = [...options.typed ?? []]
  const shell: Shell = {
    terminal: {
      out: text => { out += text },
      err: text => { err += text; options.onErr?.(text) },
      color: options.color ?? false,
      columns: 120
    },
    environment: options.environment ?? {},
    now: () => options.now ?? NOW,
    prompt: options.typed === undefined
      ? undefined
      : () => ({
          async ask (question) {
            err += question
            const line = lines.shift()
            if (line === undefined) throw new Error(`nothing is left to type at: ${question}`)
            return line
          },
          close () {}
        }),
    readInput: async () => Buffer.from(options.input ?? ''),
    stopSignal: () => options.stop ?? new AbortController().signal
  }
  const code = await run(argv, shell)
  return { code, out, err }
}
