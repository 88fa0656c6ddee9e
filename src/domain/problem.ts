/** How bad a problem is: an error keeps the file from loading, a warning is only said. */
export type Severity = 'error' | 'warning'

/** What is wrong with a file. Reported, never thrown; all of them together. */
export interface Problem {
  severity: Severity
  /** path as the operator wrote it, relative to the config file where possible */
  file: string
  /** 1-based */
  line: number
  /** 1-based */
  column: number
  /** what is wrong, naming the value that is (never a secret) */
  message: string
  /** what to write instead */
  hint?: string
}

/** `file:line:column message; hint`, on one line. */
export function formatProblem (problem: Problem): string {
  const place = `${problem.file}:${problem.line}:${problem.column}`
  const hint = problem.hint === undefined ? '' : `; ${problem.hint}`
  return `${place} ${problem.severity === 'warning' ? 'warning: ' : ''}${problem.message}${hint}`
}

/** True when any of the problems keeps the files from loading. */
export function hasErrors (problems: readonly Problem[]): boolean {
  return problems.some(problem => problem.severity === 'error')
}
