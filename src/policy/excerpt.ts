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
  const shown = printable(source.slice(start, start + WIDTH))
  const number = String(problem.line)
  const gutter = ' '.repeat(number.length)
  const caret = ' '.repeat(Math.max(0, Math.min(problem.column - 1 - start, shown.length))) + '^'
  return [head, `  ${number} | ${shown}`, `  ${gutter} | ${caret}`, ...hint].join('\n')
}

/** A terminal must not obey what a file holds, and a tab must stay one column wide under the caret. */
function printable (line: string): string {
  return line.replace(/[\x00-\x1f\x7f-\x9f]/g, ' ') // eslint-disable-line no-control-regex
}
