import { printable } from '../domain/printable.js'
import { formatProblem, type Problem } from '../domain/problem.js'

/** Longest source line that an excerpt shows. */
const WIDTH = 110

/**
 * A problem as a terminal shows it: `file:line:column message`, the line of the source, a caret under the
 * column, and the hint.
 *
 * @param problem what is wrong
 * @param text the whole text of the file; undefined: only the first line is given
 */
export function excerpt (problem: Problem, text: string | undefined): string {
  const head = formatProblem({ ...problem, hint: undefined })
  const hint = problem.hint === undefined ? [] : [`  = ${problem.hint}`]
  const source = text?.split(/\r?\n/, problem.line)[problem.line - 1]
  if (source === undefined || source.trim() === '') return [head, ...hint].join('\n')
  const start = Math.max(0, Math.min(problem.column - 1, source.length) - WIDTH + 30)
  const shown = printable(withoutSecrets(source).slice(start, start + WIDTH))
  const number = String(problem.line)
  const gutter = ' '.repeat(number.length)
  const caret = ' '.repeat(Math.max(0, Math.min(problem.column - 1 - start, shown.length))) + '^'
  return [head, `  ${number} | ${shown}`, `  ${gutter} | ${caret}`, ...hint].join('\n')
}

/**
 * Policies hold no secret, but for mistakes: a client key where its hash belongs, a private JWK where its public half
 * does. What looks like one is starred out, so that no log of a pipeline has it.
 */
function withoutSecrets (line: string): string {
  return line
    .replace(/ngk_[0-9A-Za-z]+/g, key => `ngk_${'*'.repeat(key.length - 4)}`)
    .replace(/((?:^|[^\w])["']?(?:d|p|q|dp|dq|qi|k)["']?\s*:\s*["']?)([\w-]{20,})/g, (_, name: string, value: string) => name + '*'.repeat(value.length))
}
