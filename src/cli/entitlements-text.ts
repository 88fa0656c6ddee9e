import type { Sourced } from '../okta/permissions.js'
import type { EntitlementReport, NeededRight } from '../policy/entitlements.js'
import type { Usage } from '../policy/usage.js'
import { count, type Paint } from './style.js'

const DAY_MS = 86_400_000
/** Operations that a line of the text names; the rest is a number. JSON has all. */
const NAMED = 12

/** The report for a terminal. */
export function entitlementText (report: EntitlementReport, usage: Usage | undefined, now: number, paint: Paint): string {
  const lines = [`${count(report.rights.length, 'operation')} of ${clientsText(report.clients)}`, '']
  lines.push(paint('bold', 'OAuth scopes that the service app needs'))
  lines.push(...report.scopes.length === 0 ? ['  none'] : report.scopes.map(({ scope, operations }) => `  ${scope}  (${count(operations.length, 'operation')}: ${some(operations)})`))
  for (const right of report.rights) if (right.scopeNote !== undefined) lines.push(`  ${right.operation}: ${right.scopeNote}`)
  lines.push('', paint('bold', 'Admin rights of the account behind it'))
  for (const right of report.rights) lines.push(...rightLines(right))
  lines.push('', paint('bold', 'Calls without a service app'))
  lines.push(`  no credential at all: ${report.noCredential.length === 0 ? 'none' : report.noCredential.join(', ')}`)
  lines.push(...report.apiToken.length === 0 ? ['  an API token: none'] : report.apiToken.map(({ operation, why }) => `  an API token: ${operation} (${why})`))
  lines.push('', paint('bold', `What else these scopes open: ${count(report.openedCount, 'operation')} that no policy here asks for`))
  for (const { scope, operations } of report.opened) lines.push(`  ${scope}  (${operations.length}: ${some(operations)})`)
  if (report.opened.length === 0) lines.push('  nothing')
  if (usage !== undefined) lines.push('', ...usageLines(usage, now, paint))
  return `${lines.join('\n')}\n`
}

function clientsText (clients: readonly string[]): string {
  return clients.length === 1 ? clients[0]! : `${count(clients.length, 'client')} (${some(clients)})`
}

function some (names: readonly string[]): string {
  return names.length <= NAMED ? names.join(', ') : `${names.slice(0, NAMED).join(', ')}, and ${names.length - NAMED} more`
}

function rightLines (right: NeededRight): string[] {
  const { operation, credentials, uses, specified } = right
  if (credentials.every(kind => kind === 'none')) return []
  const lines = uses.flatMap(({ use, permissions, role }) => [
    `  ${operation}, ${use}`,
    `    permission  ${fact(permissions, permissionsText)}`,
    `    role        ${fact(role, value => value)}`
  ])
  if (specified !== undefined) lines.push(`  ${operation}, as Okta's specification has it`, `    permission  ${specified.permissions?.join(' or ') ?? 'not said'}`, `    role        ${specified.roles?.join(' or ') ?? 'not said'}`)
  return lines.length > 0 ? lines : [`  ${operation}`, '    permission  not established', '    role        not established']
}

function permissionsText (permissions: readonly string[]): string {
  return permissions.length === 0 ? 'none' : permissions.join(' or ')
}

/** What is not known is said first: a guess must not be read as a fact. */
function fact<T> ({ value, certainty, source, note }: Sourced<T>, text: (value: T) => string): string {
  const from = source.length === 0 ? '' : `; ${source.join(', ')}`
  const remark = note === undefined ? '' : `: ${note}`
  const shown = text(value).replace(/^not established; /, '')
  return certainty === 'unknown' ? `not established (perhaps ${shown}${from})${remark}` : `${shown} (${certainty}${from})${remark}`
}

function usageLines ({ unused, rules, days, since, events }: Usage, now: number, paint: Paint): string[] {
  const lines = [paint('bold', `Granted and not used in ${count(days, 'day')}: ${unused.length} of ${count(rules, 'rule')}`)]
  if (since !== undefined && since > now - days * DAY_MS) lines.push(`  the log (${count(events, 'event')}) begins on ${day(since)}: what was used before is not in it`)
  return [...lines, ...unused.map(({ client, rule, name, lastUsed }) => `  ${client}: ${rule} "${name}"${lastUsed === undefined ? '' : `, last used on ${day(lastUsed)}`}`)]
}

function day (time: number): string {
  return new Date(time).toISOString().slice(0, 10)
}

/** The report for a ticket or pull request. */
export function entitlementMarkdown (report: EntitlementReport, usage: Usage | undefined): string {
  const scopes = report.scopes.map(({ scope, operations }) => `| \`${scope}\` | ${operations.map(code).join(', ')} |`)
  const rights = report.rights.filter(right => right.credentials.some(kind => kind !== 'none')).flatMap(rightRows)
  const opened = report.opened.map(({ scope, operations }) => `- \`${scope}\`: ${operations.map(code).join(', ')}`)
  const parts = [
    `# Entitlements of ${clientsText(report.clients)}`,
    '## OAuth scopes', '| scope | for |\n|---|---|\n' + scopes.join('\n'),
    '## Admin rights', '| operation | permission of a custom role | least standard role |\n|---|---|---|\n' + rights.join('\n'),
    '## Calls without a service app',
    `- no credential: ${report.noCredential.map(code).join(', ') || 'none'}\n${report.apiToken.map(({ operation, why }) => `- API token: ${code(operation)} (${why})`).join('\n') || '- API token: none'}`,
    `## What else these scopes open: ${count(report.openedCount, 'operation')}`, opened.join('\n') || 'nothing'
  ]
  if (usage !== undefined) parts.push(`## Granted and not used in ${count(usage.days, 'day')}`, usage.unused.map(({ client, rule, name }) => `- ${client}: \`${rule}\` ${cell(name)}`).join('\n') || 'nothing')
  return `${parts.join('\n\n')}\n`
}

function rightRows ({ operation, uses, specified }: NeededRight): string[] {
  const rows = uses.map(({ use, permissions, role }) => `| ${code(operation)} (${cell(use)}) | ${cell(fact(permissions, permissionsText))} | ${cell(fact(role, value => value))} |`)
  if (specified !== undefined) rows.push(`| ${code(operation)} (Okta's specification) | ${cell(specified.permissions?.join(' or ') ?? 'not said')} | ${cell(specified.roles?.join(' or ') ?? 'not said')} |`)
  return rows.length > 0 ? rows : [`| ${code(operation)} | not established | not established |`]
}

function code (text: string): string {
  return `\`${text}\``
}

function cell (text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}
