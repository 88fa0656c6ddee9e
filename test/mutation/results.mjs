// What became of each mutant of a room, written down as it becomes known: a run that is cut off has a result, and the next one can go on
// from there (--resume): what was killed is killed, as long as its file is the same, and the rest is run.
import { hash } from 'node:crypto'
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'

// Not the place of this file: Stryker runs in a copy.
const root = process.env.MUTATION_ROOT ?? path.resolve(import.meta.dirname, '../..')
const sources = new Map()

function fileOf (room) { return path.join(root, `release/mutation-${room}.jsonl`) }

/** A file as it stands; its mutants' places are those of this text. */
export function sourceOf (file) {
  if (!sources.has(file)) sources.set(file, readFileSync(path.join(root, file), 'utf8'))
  return sources.get(file)
}

/** @param first number of the first line and column in `location`: Stryker's reports count from 1, its runners from 0 */
function keyOf (file, { start, end }, replacement, first) {
  const places = [start.line, start.column, end.line, end.column].map(place => place + 1 - first)
  return `${file} ${hash('sha256', sourceOf(file), 'hex').slice(0, 16)} ${places.join(':')} ${replacement}`
}

export function forgetResults (room) { rmSync(fileOf(room), { force: true }) }

/** Results of files as they stand, by the mutants' names; of two the later one counts. */
export function readResults (room) {
  const lines = existsSync(fileOf(room)) ? readFileSync(fileOf(room), 'utf8').split('\n').filter(line => line !== '') : []
  return new Map(lines.map(line => JSON.parse(line)).filter(one => one.key === keyOf(one.file, one.location, one.replacement, 1)).map(one => [one.key, one]))
}

export function writeResult (room, { fileName, location, replacement, mutatorName, status }) {
  const file = path.relative(root, fileName)
  mkdirSync(path.dirname(fileOf(room)), { recursive: true })
  appendFileSync(fileOf(room), `${JSON.stringify({ key: keyOf(file, location, replacement, 1), file, location, replacement, mutatorName, status })}\n`)
}

/** Tells whether a mutant was killed by a run before. */
export function killedBefore (room) {
  const known = readResults(room)
  return ({ fileName, location, replacement }) => known.get(keyOf(path.relative(root, fileName), location, replacement, 0))?.status === 'Killed'
}
