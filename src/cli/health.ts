import { EXIT } from './exit.js'
import type { Shell } from './shell.js'
import { UsageFault } from './usage.js'

/** `narrowgate health`: 0 when /livez answers 200, 1 when it does not. */
export async function health (shell: Shell, options: { url: string }): Promise<number> {
  let url: URL
  try {
    url = new URL('/livez', options.url)
  } catch {
    throw new UsageFault(`--url is not a URL: ${options.url}`)
  }
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2000) })
    return answer.ok ? EXIT.fine : EXIT.findings
  } catch {
    shell.terminal.err(`narrowgate: nothing answers at ${url.origin}\n`)
    return EXIT.findings
  }
}
