import { printable } from '../domain/printable.js'
import { hasErrors } from '../domain/problem.js'
import type { AuditEvent } from '../domain/event.js'
import { createUsageCounter, type UnusedRule } from '../policy/usage.js'
import { expiriesOf, type Expiry } from '../server/expiries.js'
import type { Loaded } from '../server/load.js'
import { allEvents } from './audit-events.js'
import { EXIT } from './exit.js'
import { loadFiles, type FileOptions } from './files.js'
import type { Shell } from './shell.js'
import { count, painter, type Paint } from './style.js'
import { UsageFault } from './usage.js'

export interface ReportOptions extends FileOptions {
  readonly days?: string
  readonly json?: boolean
}

/** One client's days. */
export interface ClientReport {
  readonly client: string
  calls: number
  allowed: number
  readonly refused: Record<string, number>
  readonly limited: Record<string, number>
  failed: number
  aborted: number
  unknown: number
  /** observed: what enforce would refuse */
  wouldDeny: number
  readonly operations: Record<string, number>
  readonly keys: string[]
}

export interface WeekReport {
  readonly from: string
  readonly until: string
  readonly clients: readonly ClientReport[]
  readonly unusedRules?: readonly UnusedRule[]
  readonly expiring?: readonly Expiry[]
}

const DAY_MS = 86_400_000
const SOON_DAYS = 30
const MOST_SHOWN = 5
const NOBODY = '(nobody)'

/** `narrowgate audit report FILE…`: a page per client. */
export async function report (shell: Shell, files: readonly string[], options: ReportOptions): Promise<number> {
  const days = daysOf(options.days)
  const now = shell.now()
  const loaded = options.config === undefined && options.policies === undefined ? undefined : await loadOrFail(shell, options)
  const policies = [...loaded?.policies?.clients.values() ?? []]
  const usage = createUsageCounter(policies, days, now)
  const clients = new Map<string, ClientReport>()
  for await (const event of allEvents(shell, files)) {
    usage.add(event)
    if (event.time >= now - days * DAY_MS && event.time <= now) add(clients, event)
  }
  const result: WeekReport = {
    from: new Date(now - days * DAY_MS).toISOString(),
    until: new Date(now).toISOString(),
    clients: [...clients.values()].sort((a, b) => b.calls - a.calls),
    unusedRules: loaded === undefined ? undefined : usage.usage().unused,
    expiring: loaded?.config === undefined ? undefined : expiriesOf(loaded.config, loaded.secrets, policies).filter(({ at }) => at < now + SOON_DAYS * DAY_MS)
  }
  shell.terminal.out(options.json === true ? `${JSON.stringify(result, null, 2)}\n` : reportText(result, painter(shell.terminal.color)))
  return EXIT.fine
}

function daysOf (text: string | undefined): number {
  if (text === undefined) return 7
  if (!/^[1-9][0-9]{0,3}$/.test(text)) throw new UsageFault(`--days: ${JSON.stringify(text)} is not a number of days`)
  return Number(text)
}

async function loadOrFail (shell: Shell, options: FileOptions): Promise<Loaded> {
  const loaded = await loadFiles(shell, options)
  if (loaded.policies === undefined || hasErrors(loaded.problems)) throw new UsageFault('these files would not load: `narrowgate check` says why')
  return loaded
}

function add (clients: Map<string, ClientReport>, event: AuditEvent): void {
  // Names come from a file: a terminal must not obey them.
  const name = printable(event.client ?? NOBODY)
  let client = clients.get(name)
  if (client === undefined) clients.set(name, client = { client: name, calls: 0, allowed: 0, refused: {}, limited: {}, failed: 0, aborted: 0, unknown: 0, wouldDeny: 0, operations: {}, keys: [] })
  const calls = event.count ?? 1
  client.calls += calls
  if (event.operation !== undefined) tally(client.operations, printable(event.operation), calls)
  if (event.keyId !== undefined && !client.keys.includes(event.keyId)) client.keys.push(event.keyId)
  if (event.wouldDeny !== undefined) client.wouldDeny += calls
  switch (event.outcome) {
    case 'refused': tally(client.refused, event.reason ?? 'other', calls); return
    case 'limited': tally(client.limited, event.reason ?? 'other', calls); return
    case 'pending': return
    default: client[event.outcome] += calls
  }
}

function tally (counts: Record<string, number>, key: string, calls: number): void {
  counts[key] = (Object.hasOwn(counts, key) ? counts[key]! : 0) + calls
}

function reportText ({ from, until, clients, unusedRules, expiring }: WeekReport, paint: Paint): string {
  const lines = [`${paint('bold', 'Audit report')}  ${from.slice(0, 16)}Z to ${until.slice(0, 16)}Z`, '']
  for (const client of clients) {
    lines.push(`${paint('bold', client.client)}  ${count(client.calls, 'call')}, ${client.allowed} allowed${client.keys.length === 0 ? '' : `, ${count(client.keys.length, 'key')}: ${client.keys.slice(0, MOST_SHOWN).join(' ')}`}`)
    const row = (name: string, text: string): void => { if (text !== '') lines.push(`  ${name.padEnd(11)} ${text}`) }
    row('operations', top(client.operations))
    row('refused', top(client.refused))
    row('limited', top(client.limited))
    row('trouble', (['failed', 'aborted', 'unknown'] as const).filter(name => client[name] > 0).map(name => `${name} ${client[name]}`).join(', '))
    row('observed', client.wouldDeny === 0 ? '' : `${count(client.wouldDeny, 'call')} would be refused`)
    row('unused', (unusedRules ?? []).filter(rule => rule.client === client.client).map(({ name }) => name).join(', '))
    lines.push('')
  }
  const silent = [...new Set((unusedRules ?? []).map(({ client }) => client))].filter(name => !clients.some(({ client }) => client === name))
  if (silent.length > 0) lines.push(`no call of: ${silent.join(', ')}`, '')
  for (const { what, name, at } of expiring ?? []) lines.push(`${paint('yellow', 'ends')} ${new Date(at).toISOString().slice(0, 10)}  ${what.replace('_', ' ')} ${name}`)
  return `${lines.join('\n').trimEnd()}\n`
}

/** The largest first. */
function top (counts: Readonly<Record<string, number>>): string {
  const sorted = Object.entries(counts).sort(([, a], [, b]) => b - a)
  const shown = sorted.slice(0, MOST_SHOWN).map(([name, calls]) => `${name} ${calls}`).join(', ')
  return sorted.length > MOST_SHOWN ? `${shown}, and ${sorted.length - MOST_SHOWN} more` : shown
}
