import type { Logger } from 'pino'
import { formatProblem, hasErrors, type Problem } from '../domain/problem.js'

/** How many warnings of a load are told one by one: a line each of thousands would hold up requests. */
const MOST_SAID = 100

/** What was wrong with the files at the last load, told to operators once. */
export class LoadNotes {
  readonly #log: Logger
  #problems: readonly Problem[] = []

  constructor (log: Logger) { this.#log = log }

  /** What is wrong with the files, but for warnings about files that are as they were: those have been said. */
  tell (problems: readonly Problem[]): void {
    const said = new Set(this.#problems)
    this.#problems = problems
    const news = problems.filter(problem => !said.has(problem))
    const errors = news.filter(({ severity }) => severity === 'error')
    const warnings = news.filter(({ severity }) => severity === 'warning')
    for (const problem of errors) this.#log.error(formatProblem(problem))
    for (const problem of warnings.slice(0, MOST_SAID)) this.#log.warn(formatProblem(problem))
    if (warnings.length > MOST_SAID) this.#log.warn(`${warnings.length - MOST_SAID} more warnings: narrowgate check shows them all`)
  }

  /** For `/readyz`: errors first. */
  summary (): object {
    const problems = this.#problems
    const more = problems.length - MOST_SAID
    const foremost = more <= 0 ? problems : problems.toSorted((a, b) => Number(b.severity === 'error') - Number(a.severity === 'error')).slice(0, MOST_SAID)
    return { good: !hasErrors(problems), problems: foremost.map(formatProblem), ...more > 0 ? { more } : {} }
  }
}
