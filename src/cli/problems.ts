import { printable } from '../domain/printable.js'
import type { Problem } from '../domain/problem.js'
import { excerpt } from '../policy/excerpt.js'
import type { Paint } from './style.js'

/**
 * Problems as a terminal shows them, in their order: place and message, the line with a caret, the hint.
 *
 * @param texts of the files, by the path that problems show
 */
export function problemText (problems: readonly Problem[], texts: Pick<ReadonlyMap<string, string>, 'get'>, paint: Paint): string {
  return problems.map(problem => `${paintProblem(clean(problem), texts.get(problem.file), paint)}\n\n`).join('')
}

function clean (problem: Problem): Problem {
  const { file, message, hint } = problem
  const oneLine = (text: string): string => printable(text).replaceAll('\n', ' ')
  return { ...problem, file: oneLine(file), message: oneLine(message), hint: hint === undefined ? undefined : oneLine(hint) }
}

function paintProblem (problem: Problem, text: string | undefined, paint: Paint): string {
  const tone = problem.severity === 'error' ? 'red' : 'yellow'
  const place = `${problem.file}:${problem.line}:${problem.column}`
  return excerpt(problem, text).split('\n').map((line, i) => {
    if (i === 0) return paint('bold', place) + paint(tone, line.slice(place.length))
    if (/^ +\| +\^$/.test(line)) return paint(tone, line)
    return line.startsWith('  = ') ? paint('cyan', line) : line
  }).join('\n')
}
