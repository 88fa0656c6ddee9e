import { printable } from '../domain/printable.js'
import type { UpstreamView } from '../limits/store.js'
import { EXIT } from './exit.js'
import type { Shell } from './shell.js'
import { painter, type Paint } from './style.js'
import { UsageFault } from './usage.js'

/** Flags of `narrowgate limits`. */
export interface LimitsOptions {
  /** the admin listener of a running gate */
  readonly url: string
  readonly watch?: boolean
  readonly json?: boolean
}

/** What the admin listener's `/limits` answers. */
interface LimitsAnswer {
  readonly store: ReadonlyArray<{ upstream: string, state: string, replicas: number }>
  readonly upstreams: readonly UpstreamView[]
}

const EVERY_MS = 2000
const TIMEOUT_MS = 3000
const SOURCES: Readonly<Record<string, string>> = { config: 'narrowgate.yaml', header: 'Okta\'s headers', catalogue: 'catalogue' }

/**
 * `narrowgate limits`: the buckets that a running gate has called, where each number comes from, and who uses them.
 * With `--watch` again every two seconds, until interrupted.
 *
 * @returns 0, or 1 when nothing answers
 */
export async function limits (shell: Shell, options: LimitsOptions): Promise<number> {
  const url = urlOf(options.url)
  const { terminal } = shell
  const paint = painter(terminal.color)
  for (;;) {
    const answer = await read(url)
    if (answer === undefined) {
      terminal.err(`narrowgate: no gate answers at ${url.origin}: --url is its admin listener\n`)
      return EXIT.findings
    }
    if (options.json === true) terminal.out(`${JSON.stringify(answer, null, options.watch === true ? 0 : 2)}\n`)
    else terminal.out(`${options.watch === true && terminal.color ? '\x1b[2J\x1b[H' : ''}${limitsText(answer, shell.now(), paint)}`)
    if (options.watch !== true || await stopped(shell.stopSignal(), EVERY_MS)) return EXIT.fine
  }
}

/** As a table: one line a bucket, below it its clients. */
export function limitsText ({ store, upstreams }: LimitsAnswer, now: number, paint: Paint): string {
  const lines = upstreams.flatMap(({ upstream, inFlight, allowance, buckets }) => {
    const shared = store.find(one => one.upstream === upstream)
    const state = shared === undefined ? 'counted by this gate alone' : shared.state === 'shared' ? `shared by ${shared.replicas} gates` : `the store is lost: this gate goes by its ${shared.state === 'share' ? `part, 1 of ${shared.replicas}` : 'orders and refuses'}`
    const head = `${paint('bold', printable(upstream))}: ${inFlight} of ${allowance} in flight; ${shared !== undefined && shared.state !== 'shared' ? paint('red', state) : state}`
    return [head, row('bucket', 'org', 'from', 'allowance', 'used', ''), ...buckets.toSorted((a, b) => b.used / b.allowance - a.used / a.allowance).flatMap(one => bucketLines(one, now, paint)), '']
  })
  return lines.length === 0 ? 'no bucket has been called since the start\n' : lines.join('\n')
}

function bucketLines (one: UpstreamView['buckets'][number], now: number, paint: Paint): string[] {
  const notes = [
    ...one.closedUntilMs === undefined ? [] : [paint('red', `closed for ${Math.ceil((one.closedUntilMs - now) / 1000)} s`)],
    ...one.waiting === 0 ? [] : [`${one.waiting} waiting`],
    ...one.tooMany === 0 ? [] : [`${one.tooMany} × 429 of Okta`],
    ...one.nonsense === 0 ? [] : [`${one.nonsense} senseless headers`]
  ]
  const clients = one.clients.toSorted((a, b) => b.used - a.used).map(client => paint('dim', row(`  ${printable(client.client)}`, '', '', '', String(client.used), `${one.allowance === 0 ? 0 : Math.round(100 * client.used / one.allowance)}%`)))
  return [row(printable(one.bucket), String(one.org), SOURCES[one.source] ?? one.source, String(one.allowance), String(one.used), notes.join(', ')), ...clients]
}

function row (bucket: string, org: string, from: string, allowance: string, used: string, notes: string): string {
  return `${bucket.padEnd(44)} ${org.padStart(7)} ${from.padEnd(16)} ${allowance.padStart(9)} ${used.padStart(6)}  ${notes}`.trimEnd()
}

function urlOf (text: string): URL {
  if (!URL.canParse('/limits', text)) throw new UsageFault(`--url is not a URL: ${text}`)
  return new URL('/limits', text)
}

async function read (url: URL): Promise<LimitsAnswer | undefined> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })
    const view = answer.ok ? await answer.json() as Partial<LimitsAnswer> : undefined
    return Array.isArray(view?.store) && Array.isArray(view.upstreams) ? view as LimitsAnswer : undefined
  } catch {
    return undefined
  }
}

/** Waits; true when the user has had enough. */
async function stopped (signal: AbortSignal, ms: number): Promise<boolean> {
  return await new Promise(resolve => {
    const timer = setTimeout(() => { resolve(signal.aborted) }, ms)
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(true) }, { once: true })
  })
}
