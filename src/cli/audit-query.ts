import { printable } from '../domain/printable.js'
import { createPlainLines } from '../audit/plain.js'
import type { AuditEvent, Outcome } from '../domain/event.js'
import { allEvents } from './audit-events.js'
import { EXIT } from './exit.js'
import type { Shell } from './shell.js'
import { painter, type Paint, type Style } from './style.js'
import { UsageFault } from './usage.js'

/** Which events a reader wants. */
export interface EventChoice {
  readonly client?: string
  readonly operation?: string
  readonly outcome?: string
}

export interface QueryOptions extends EventChoice {
  readonly id?: string
  readonly resource?: string
  readonly since?: string
  readonly until?: string
  readonly all?: boolean
  readonly json?: boolean
}

const OUTCOMES = new Set<string>(['allowed', 'refused', 'limited', 'failed', 'aborted', 'pending', 'unknown'] satisfies Outcome[])
const COLORS: Readonly<Record<Outcome, Style>> = { allowed: 'green', refused: 'red', limited: 'yellow', failed: 'red', aborted: 'yellow', pending: 'dim', unknown: 'red' }
const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 }
const DAY_OR_TIME = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?<zone>Z|[+-]\d\d:?\d\d)?)?$/i

/** `narrowgate audit query FILE…`: events that fit, oldest first. */
export async function query (shell: Shell, files: readonly string[], options: QueryOptions): Promise<number> {
  const { terminal } = shell
  const wanted = chooser(options)
  const since = momentOf('--since', options.since, shell.now()) ?? -Infinity
  const until = momentOf('--until', options.until, shell.now()) ?? Infinity
  const plain = createPlainLines()
  const paint = painter(terminal.color)
  let found = 0
  for await (const event of allEvents(shell, files, { phases: options.all === true || options.outcome === 'pending' })) {
    if (event.time < since || event.time >= until || !wanted(event)) continue
    if (options.id !== undefined && event.id !== options.id && event.oktaRequestId !== options.id) continue
    if (options.resource !== undefined && !hasResource(event, options.resource)) continue
    found++
    terminal.out(options.json === true ? plain(event) : `${eventText(event, paint)}\n`)
  }
  return found === 0 ? EXIT.findings : EXIT.fine
}

/** @throws UsageFault for an outcome that there is not */
export function chooser ({ client, operation, outcome }: EventChoice): (event: AuditEvent) => boolean {
  if (outcome !== undefined && !OUTCOMES.has(outcome)) throw new UsageFault(`--outcome: there is no ${JSON.stringify(outcome)}; known: ${[...OUTCOMES].join(', ')}`)
  return event => (client === undefined || event.client === client) && (operation === undefined || event.operation === operation) && (outcome === undefined || event.outcome === outcome)
}

function hasResource ({ resources, path }: AuditEvent, id: string): boolean {
  return resources?.some(resource => resource.id === id) ?? path?.split('/').includes(id) ?? false
}

/** A time as written, in UTC unless it says otherwise as all times of events are, or so long ago. */
function momentOf (flag: string, text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined
  const ago = /^([1-9][0-9]{0,4})([smhdw])$/.exec(text)
  const at = ago === null ? parsedTime(text) : now - Number(ago[1]) * UNITS[ago[2]!]!
  if (Number.isNaN(at)) throw new UsageFault(`${flag}: ${JSON.stringify(text)} is no time; write e.g. 2026-11-22, 2026-11-22T10:00+01:00 (without a zone: UTC) or 7d`)
  return at
}

function parsedTime (text: string): number {
  const match = DAY_OR_TIME.exec(text)
  if (match === null) return NaN
  const iso = text.toUpperCase().replace(' ', 'T')
  return Date.parse(iso.length > 10 && match.groups?.['zone'] === undefined ? `${iso}Z` : iso)
}

/** One line for a person. Colours are ours, everything else of a line came from outside. */
export function eventText (event: AuditEvent, paint: Paint): string {
  const { outcome, phase, reason, wouldDeny, client, keyId, operation, method, path, status, durationMs, rule, count, id } = event
  const colored = (style: Style, text: string): string => paint(style, clean(text))
  const who = client === undefined ? colored('dim', event.source) : `${colored('bold', client)}${keyId === undefined ? '' : colored('dim', `/${keyId}`)}`
  const what = `${clean(`${method} ${path ?? '?'}`)}${operation === undefined ? '' : ` ${colored('cyan', operation)}`}`
  const why = [reason, wouldDeny === undefined ? undefined : `would be refused: ${wouldDeny}`, rule === undefined ? undefined : `by ${rule}`, count === undefined ? undefined : `${count} times`].filter(part => part !== undefined).join(', ')
  const end = phase === undefined ? `${status ?? '-'} ${Math.round(durationMs)} ms` : phase
  return `${new Date(event.time).toISOString()} ${paint(COLORS[outcome], outcome.padEnd(7))} ${who}  ${what}  ${end}${why === '' ? '' : `  ${colored('dim', why)}`}  ${colored('dim', id)}`
}

/** On one line, and nothing that a terminal obeys. */
function clean (text: string): string {
  return printable(text).replaceAll('\n', ' ')
}
