import { readFile } from 'node:fs/promises'
import { printable } from '../domain/printable.js'
import type { Catalog } from '../okta/catalog.js'
import { createCatalog } from '../okta/catalog.js'
import { importList, type ListFinding } from '../policy/import-list.js'
import { readHar, readPostman, recordingKind } from '../policy/import-recording.js'
import { createLearner, resolve } from '../policy/learn.js'
import { withEvidence } from '../policy/learn-text.js'
import { NO_KEY, policyText, type CommentedRule } from '../policy/write-policy.js'
import { EXIT } from './exit.js'
import { hasFiles, loadFiles, type FileOptions } from './files.js'
import type { Shell } from './shell.js'
import { count, painter } from './style.js'
import { UsageFault } from './usage.js'

/** Flags of `narrowgate import`. */
export interface ImportOptions extends FileOptions {
  readonly client?: string
  readonly json?: boolean
}

interface Imported {
  readonly rules: readonly CommentedRule[]
  readonly findings: readonly ListFinding[]
  readonly summary: string
}

/**
 * `narrowgate import`: a policy from a plain list of operations, a HAR file or a Postman collection. The policy goes to
 * stdout, what is to say about the input to stderr.
 *
 * @returns 0 when every entry became a rule without a finding, 1 otherwise
 */
export async function importFile (shell: Shell, file: string, options: ImportOptions): Promise<number> {
  const client = options.client ?? 'imported'
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(client)) throw new UsageFault(`${JSON.stringify(client)} is not an id for a client`)
  const input = await readInput(shell, file)
  const catalog = hasFiles(options) ? (await loadFiles(shell, options)).policies?.catalog ?? createCatalog() : createCatalog()
  const { rules, findings, summary } = readAny(input, catalog)
  if (rules.length === 0 && findings.length === 0) throw new UsageFault(`${file} holds no request that Okta's catalogue knows`)

  const { terminal } = shell
  if (options.json === true) {
    terminal.out(`${JSON.stringify({ client, summary, rules: rules.map(({ rule, comment }) => ({ ...rule, comment })), findings }, null, 2)}\n`)
  } else {
    terminal.out(policyText({ client, authenticate: [{ apiKey: { sha256: NO_KEY } }] }, rules, [printable(`Imported from ${file}: ${summary}`)], trailer(findings)))
    const paint = painter(terminal.color)
    for (const finding of findings) {
      const [first, ...others] = findingLines(finding)
      terminal.err(`${paint('bold', finding.line === 0 ? file : `${file}:${finding.line}`)} ${paint(finding.severity === 'error' ? 'red' : 'yellow', first!)}\n${others.map(line => `  ${line}\n`).join('')}`)
    }
    terminal.err(`${summary}\n`)
  }
  return findings.length > 0 ? EXIT.findings : EXIT.fine
}

async function readInput (shell: Shell, file: string): Promise<string> {
  if (file === '-') return (await shell.readInput()).toString('utf8')
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new UsageFault(`${file} cannot be read (${String((error as NodeJS.ErrnoException).code)})`)
  }
}

function readAny (input: string, catalog: Catalog): Imported {
  const value = jsonOf(input)
  const kind = recordingKind(value)
  if (kind !== undefined) return importRecording(kind, value, catalog)
  if (value !== undefined) throw new UsageFault('this JSON is neither a HAR file nor a Postman collection')
  const { rules, findings, entries } = importList(input, catalog)
  const errors = findings.filter(finding => finding.severity === 'error').length
  return { rules, findings, summary: `${count(entries, 'entry').replace('entrys', 'entries')}, ${count(rules.length, 'rule')}; ${errors === 1 ? '1 entry is no operation' : `${errors} entries are no operations`}` }
}

function jsonOf (input: string): unknown {
  if (!/^\s*\{/.test(input)) return undefined
  try {
    return JSON.parse(input.replace(/^\ufeff/, '')) as unknown
  } catch {
    throw new UsageFault('this looks like JSON and cannot be read as such')
  }
}

/** A collection's examples stand for themselves: their parameters are never pinned. */
function importRecording (kind: 'har' | 'postman', value: unknown, catalog: Catalog): Imported {
  const calls = kind === 'har' ? readHar(value) : readPostman(value)
  const learner = createLearner(catalog, { generalise: 0 })
  const unknown = new Map<string, number>()
  for (const { call } of calls) {
    // A browser's recording holds pages and pictures too: only what looks like Okta's API is worth a word.
    const why = resolve(catalog, call)
    if (typeof why !== 'string') learner.add(call)
    else if (/^\/(?:api|oauth2|idp|integrations|governance|okta-personal-settings)\//.test(call.path ?? '')) unknown.set(`${call.method} ${call.path}: ${why}`, (unknown.get(`${call.method} ${call.path}: ${why}`) ?? 0) + 1)
  }
  const { rules } = learner.learned()
  const comment = kind === 'har' ? withEvidence : (rule: Parameters<typeof withEvidence>[0]) => ({ rule: rule.rule, comment: [...rule.notes] })
  const findings = [...unknown].map(([message, times]): ListFinding => ({ line: 0, severity: 'warning', message: times === 1 ? message : `${message} (${times} times)`, real: [] }))
  return { rules: rules.map(comment), findings, summary: `${count(calls.length, 'request')}, ${count(rules.length, 'rule')}` }
}

function findingLines ({ severity, message, real }: ListFinding): string[] {
  return [printable(`${severity === 'warning' ? 'warning: ' : ''}${message}`), ...real.map(each => printable(`Okta has ${each}`))]
}

/** What became no rule stands in the file too, where whoever reviews it looks. */
function trailer (findings: readonly ListFinding[]): string[] {
  const errors = findings.filter(finding => finding.severity === 'error')
  if (errors.length === 0) return []
  return ['', 'Not imported:', ...errors.flatMap(finding => {
    const [first, ...others] = findingLines(finding)
    return [`line ${finding.line}: ${first}`, ...others.map(line => `  ${line}`)]
  })]
}
