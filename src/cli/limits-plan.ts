import { printable } from '../domain/printable.js'
import { defaultLimit, orgLimitFor } from '../okta/buckets.js'
import { loadEverything } from '../server/load.js'
import { auditEvents, withRotated } from './audit-events.js'
import { EXIT } from './exit.js'
import type { Shell } from './shell.js'
import { painter, type Paint } from './style.js'
import { UsageFault } from './usage.js'

/** Flags of `narrowgate limits plan`. */
export interface PlanOptions {
  readonly usage: readonly string[]
  /** narrowgate.yaml, for ceiling and limits.org; absent: 50% of the catalogue's limits */
  readonly config?: string
  readonly json?: boolean
}

/** What one client needs of one bucket. */
export interface PlanRow {
  readonly upstream: string
  readonly bucket: string
  readonly client: string
  /** calls that went to Okta */
  readonly calls: number
  /** the most of them in any 60 seconds */
  readonly peak: number
  /** when those began, ISO */
  readonly peakAt: string
  /** calls that a limit refused */
  readonly limited: number
  readonly allowance: number
  /** what the peak has left of the allowance */
  readonly headroom: number
  /** the smallest share that would have carried the peak and a quarter more */
  readonly share: string
}

const SPAN_MS = 60_000
/** Room above the peak that was seen. */
const MORE = 1.25

/**
 * `narrowgate limits plan --usage AUDIT`: for each client and bucket the peak minute, the headroom and a share.
 *
 * @returns 0, or 1 when limits have refused calls or the proposed shares of a bucket add up to more than there is
 */
export async function limitsPlan (shell: Shell, options: PlanOptions): Promise<number> {
  const allowanceOf = await allowances(shell, options.config)
  const seen = new Map<string, { upstream: string, bucket: string, client: string, times: number[], limited: number }>()
  for await (const { upstream, bucket, client, time, outcome, upstreamStatus } of auditEvents(shell, withRotated(options.usage))) {
    if (upstream === undefined || bucket === undefined || client === undefined) continue
    const key = JSON.stringify([upstream, bucket, client])
    let one = seen.get(key)
    if (one === undefined) seen.set(key, one = { upstream, bucket, client, times: [], limited: 0 })
    if (upstreamStatus !== undefined) one.times.push(time)
    else if (outcome === 'limited') one.limited++
  }
  const rows = [...seen.values()].map(({ times, limited, ...who }): PlanRow => {
    const allowance = allowanceOf(who.bucket)
    const { peak, at } = peakOf(times)
    const share = allowance === 0 ? 100 : Math.min(100, Math.max(1, Math.ceil(100 * MORE * peak / allowance)))
    return { ...who, calls: times.length, peak, peakAt: peak === 0 ? '' : new Date(at).toISOString(), limited, allowance, headroom: allowance - peak, share: `${share}%` }
  }).sort((a, b) => a.upstream.localeCompare(b.upstream) || a.bucket.localeCompare(b.bucket) || b.peak - a.peak)
  const tight = tightBuckets(rows)
  shell.terminal.out(options.json === true ? `${JSON.stringify({ rows, tight }, null, 2)}\n` : planText(rows, tight, painter(shell.terminal.color)))
  return tight.length > 0 || rows.some(one => one.limited > 0) ? EXIT.findings : EXIT.fine
}

/** The most of `times` in any 60 seconds, and when those began. */
export function peakOf (times: readonly number[]): { peak: number, at: number } {
  const sorted = times.toSorted((a, b) => a - b)
  let peak = 0
  let at = 0
  for (let first = 0, last = 0; last < sorted.length; last++) {
    while (sorted[last]! - sorted[first]! >= SPAN_MS) first++
    if (last - first + 1 > peak) { peak = last - first + 1; at = sorted[first]! }
  }
  return { peak, at }
}

async function allowances (shell: Shell, config: string | undefined): Promise<(bucket: string) => number> {
  if (config === undefined) return bucket => Math.floor(defaultLimit(bucket).perMinute / 2)
  const loaded = await loadEverything(config, shell.environment, shell.now(), { withSecrets: false })
  if (loaded.config === undefined) throw new UsageFault(`${config} would not load: narrowgate check -c ${config} says why`)
  const { ceiling, org } = loaded.config.limits
  return bucket => Math.floor(ceiling * (orgLimitFor(bucket, org) ?? defaultLimit(bucket).perMinute) + 1e-9)
}

/** Buckets whose proposed shares are more than 100% together. */
function tightBuckets (rows: readonly PlanRow[]): string[] {
  const sums = new Map<string, number>()
  for (const { upstream, bucket, share } of rows) sums.set(`${upstream} ${bucket}`, (sums.get(`${upstream} ${bucket}`) ?? 0) + Number.parseInt(share, 10))
  return [...sums].filter(([, sum]) => sum > 100).map(([name]) => name)
}

function planText (rows: readonly PlanRow[], tight: readonly string[], paint: Paint): string {
  const line = (...[client, calls, peak, at, limited, headroom, share]: string[]): string =>
    `  ${client!.padEnd(30)} ${calls!.padStart(9)} ${peak!.padStart(12)} ${at!.padEnd(24)} ${limited!.padStart(8)} ${headroom!.padStart(9)} ${share!.padStart(6)}`
  const lines: string[] = []
  let bucket = ''
  for (const one of rows) {
    const name = `${one.upstream} ${one.bucket}`
    if (name !== bucket) lines.push(`${paint('bold', printable(name))}: allowance ${one.allowance}/min${tight.includes(name) ? paint('yellow', ', more is asked for than there is') : ''}`, paint('dim', line('client', 'calls', 'peak minute', 'from', 'limited', 'headroom', 'share')))
    bucket = name
    lines.push(line(printable(one.client), String(one.calls), String(one.peak), one.peakAt, String(one.limited), String(one.headroom), one.share))
  }
  return lines.length === 0 ? 'no call of these logs counts against a limit\n' : `${lines.join('\n')}\n`
}
