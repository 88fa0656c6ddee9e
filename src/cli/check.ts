import { writeFile } from 'node:fs/promises'
import { hasErrors, type Problem } from '../domain/problem.js'
import type { TestReport } from '../policy/check.js'
import type { Loaded } from '../server/load.js'
import { EXIT } from './exit.js'
import { loadFiles, type FileOptions } from './files.js'
import { junitXml } from './junit.js'
import { problemText } from './problems.js'
import type { Shell } from './shell.js'
import { count, painter, type Paint } from './style.js'
import { UsageFault } from './usage.js'

/** Flags of `narrowgate check`. */
export interface CheckOptions extends FileOptions {
  /** a file for the tests' results as JUnit XML */
  readonly junit?: string
  readonly json?: boolean
}

/**
 * `narrowgate check`: all problems of all files, and the policies' tests.
 *
 * @returns 0 when all is well, 1 for warnings, 2 when the gate would not start with these files
 */
export async function check (shell: Shell, options: CheckOptions): Promise<number> {
  const loaded = await loadFiles(shell, options)
  const { terminal } = shell
  if (options.junit !== undefined) await writeJunit(options.junit, loaded)
  if (options.json === true) {
    terminal.out(`${JSON.stringify(jsonReport(loaded), null, 2)}\n`)
  } else {
    const paint = painter(terminal.color)
    terminal.out(problemText(loaded.problems, loaded.texts, paint) + overlapLines(loaded, paint) + summary(loaded, paint) + '\n')
  }
  return exitCode(loaded.problems)
}

/** 0, 1 for warnings, 2 for what keeps files from loading. */
export function exitCode (problems: readonly Problem[]): number {
  if (hasErrors(problems)) return EXIT.usage
  return problems.length > 0 ? EXIT.findings : EXIT.fine
}

async function writeJunit (file: string, { policies, problems }: Loaded): Promise<void> {
  try {
    await writeFile(file, junitXml(policies?.tests?.results ?? [], problems))
  } catch (error) {
    throw new UsageFault(`--junit: ${file} cannot be written (${String((error as NodeJS.ErrnoException).code)})`)
  }
}

/** Pairs of rules that the text lists; JSON has all. */
const SHOWN_OVERLAPS = 10

/** Where one call can match two rules: which of them answers. Nothing is wrong with that, and it has to be known. */
function overlapLines ({ policies }: Loaded, paint: Paint): string {
  const overlaps = policies?.tests?.overlaps ?? []
  if (overlaps.length === 0) return ''
  const lines = overlaps.slice(0, SHOWN_OVERLAPS).map(({ client, operation, first, second }) => `  ${client}, ${operation}: ${first} answers before ${second}`)
  const rest = overlaps.length > SHOWN_OVERLAPS ? [`  … and ${overlaps.length - SHOWN_OVERLAPS} more: --json lists them`] : []
  return `${[paint('bold', 'Rules that one call can match, and which of them answers'), ...lines, ...rest].join('\n')}\n\n`
}

interface Totals { readonly clients: number, readonly rules: number, readonly errors: number, readonly warnings: number, readonly passed: number }

function totals ({ policies, problems }: Loaded): Totals {
  const clients = [...policies?.clients.values() ?? []]
  return {
    clients: clients.length,
    rules: clients.reduce((sum, { allow, deny }) => sum + allow.shapes.length + deny.shapes.length, 0),
    errors: problems.filter(problem => problem.severity === 'error').length,
    warnings: problems.filter(problem => problem.severity === 'warning').length,
    passed: policies?.tests?.results.filter(result => result.passed).length ?? 0
  }
}

function jsonReport (loaded: Loaded): object {
  const { clients, rules, errors, warnings, passed } = totals(loaded)
  const { problems, policies, hash } = loaded
  return { clients, rules, errors, warnings, hash: hash.slice(0, 12), problems, tests: policies === undefined ? undefined : { passed, ...policies.tests } }
}

/** One line: what there is, what was tested, what is wrong. */
function summary (loaded: Loaded, paint: Paint): string {
  const { clients, rules, errors, warnings, passed } = totals(loaded)
  const parts = [`${count(clients, 'client')}, ${count(rules, 'rule')}`, ...loaded.policies?.tests === undefined ? [] : testSummary(loaded.policies.tests, passed)]
  const verdict = errors > 0 ? paint('red', 'the gate would not start') : warnings > 0 ? paint('yellow', 'fit to serve, with warnings') : paint('green', 'fit to serve')
  return `${parts.join('; ')}; ${count(errors, 'error')}, ${count(warnings, 'warning')}: ${verdict}`
}

function testSummary ({ results, rules, conditions, overlaps, observing }: TestReport, passed: number): string[] {
  const parts = [
    `${passed} of ${count(results.length, 'test')} passed`,
    `tested: ${rules.tested} of ${count(rules.total, 'rule')}, ${conditions.tested} of ${count(conditions.total, 'condition')}`
  ]
  if (overlaps.length > 0) parts.push(`${count(overlaps.length, 'pair')} of rules that one call can match`)
  if (observing.length > 0) parts.push(`only observed: ${observing.join(', ')}`)
  return parts
}
