import type { CallBody } from '../domain/decision.js'
import type { ClientDiff } from '../policy/diff.js'
import type { OperationChange } from '../policy/diff-operation.js'
import { isOpen, type ReplayedChange } from '../policy/diff-replay.js'
import { count, type Paint, type Style } from './style.js'

/** What a change asks of whoever reviews it. */
export function isOpening (kind: string): boolean {
  return kind === 'gained' || kind === 'widened' || kind === 'unproven'
}

const TONES: Readonly<Record<string, Style>> = { gained: 'red', widened: 'red', unproven: 'yellow', lost: 'green', narrowed: 'green', changed: 'dim' }
const SHOWN = 50

/** The comparison for a terminal. */
export function diffText (diffs: readonly ClientDiff[], replayed: readonly ReplayedChange[] | undefined, paint: Paint): string {
  const lines = diffs.flatMap(({ client, status, changes, operations }) => [
    paint('bold', `${client}${status === 'changed' ? '' : ` (${status})`}`),
    ...changes.map(({ kind, what }) => `  ${mark(kind, paint)} ${what}`),
    ...operations.flatMap(change => operationLines(change, paint)),
    ''
  ])
  if (replayed !== undefined) lines.push(...replayLines(replayed, paint), '')
  return `${[...lines, summary(diffs)].join('\n')}\n`
}

function mark (kind: string, paint: Paint): string {
  return paint(TONES[kind] ?? 'dim', kind.padEnd(8))
}

function operationLines ({ kind, operation, request, witness, what }: OperationChange, paint: Paint): string[] {
  const head = `  ${mark(kind, paint)} ${operation}  ${paint('dim', request)}`
  const opens = kind === 'gained' || kind === 'widened'
  if (witness === undefined) return what === undefined ? [head] : [head, `             ${what}`]
  const [admits, refuses] = opens ? ['now admitted by', 'refused before'] : ['admitted before by', 'now refused']
  const body = witness.body === undefined ? [] : [`               ${bodyText(witness.body)}`]
  return [head, `             ${witness.request}`, ...body, `             ${admits} ${witness.admittedBy}; ${refuses}: ${witness.refusedBecause}`]
}

/** A witness's body on one line. */
function bodyText (body: CallBody): string {
  return body.kind === 'json' ? JSON.stringify(body.value) : body.kind === 'absent' ? '' : '(a body that is no JSON)'
}

function replayLines (replayed: readonly ReplayedChange[], paint: Paint): string[] {
  const total = replayed.reduce((sum, { calls }) => sum + calls, 0)
  const shown = replayed.slice(0, SHOWN).map(change => {
    const word = isOpen(change) ? `${change.before} → ${change.after}` : change.after === 'admitted' ? 'now admitted' : 'now refused'
    return `  ${word}  ${change.client}: ${change.method} ${change.path}${queryText(change)}  (${count(change.calls, 'call')}, last ${new Date(change.last).toISOString().slice(0, 16)}Z)`
  })
  const rest = replayed.length > SHOWN ? [`  … and ${replayed.length - SHOWN} more`] : []
  return [paint('bold', `Recorded calls whose decision changes: ${total}`), ...shown, ...rest]
}

function queryText ({ queryNames }: ReplayedChange): string {
  return queryNames.length === 0 ? '' : `?${queryNames.map(name => `${name}=…`).join('&')}`
}

function summary (diffs: readonly ClientDiff[]): string {
  const kinds = diffs.flatMap(({ changes, operations }) => [...changes, ...operations].map(({ kind }) => kind))
  const words = ['gained', 'widened', 'unproven', 'narrowed', 'lost', 'changed'].flatMap(kind => {
    const number = kinds.filter(each => each === kind).length
    return number === 0 ? [] : [`${number} ${kind}`]
  })
  return diffs.length === 0 ? 'no client can do more or less than before' : `${count(diffs.length, 'client')}: ${words.length === 0 ? 'nothing but names' : words.join(', ')}`
}

/** The comparison for a pull request. */
export function diffMarkdown (diffs: readonly ClientDiff[], replayed: readonly ReplayedChange[] | undefined): string {
  const opening = diffs.some(({ changes, operations }) => [...changes, ...operations].some(({ kind }) => isOpening(kind)))
  const parts = [`## Policies: ${summary(diffs)}`, opening ? '**This opens something: it wants a second approval.**' : 'Nothing is opened.']
  for (const { client, status, changes, operations } of diffs) {
    parts.push(`### ${client}${status === 'changed' ? '' : ` (${status})`}`)
    if (changes.length > 0) parts.push(changes.map(({ kind, what }) => `- **${kind}**: ${what}`).join('\n'))
    if (operations.length > 0) parts.push(`| | operation | for example |\n|---|---|---|\n${operations.map(row).join('\n')}`)
  }
  if (replayed !== undefined) {
    const rows = replayed.slice(0, SHOWN).map(change => `| ${change.client} | \`${change.method} ${change.path}${queryText(change)}\` | ${change.before} → ${change.after} | ${change.calls} |`)
    parts.push(`### Recorded calls whose decision changes: ${replayed.reduce((sum, { calls }) => sum + calls, 0)}`)
    if (rows.length > 0) parts.push(`| client | call | decision | calls |\n|---|---|---|---|\n${rows.join('\n')}`)
  }
  return `${parts.join('\n\n')}\n`
}

function row ({ kind, operation, request, witness, what }: OperationChange): string {
  const example = witness === undefined ? what ?? '' : `\`${witness.request}\`${witness.body === undefined ? '' : ` with \`${bodyText(witness.body)}\``}`
  return `| **${kind}** | \`${operation}\` (${request}) | ${example.replaceAll('|', '\\|')} |`
}
