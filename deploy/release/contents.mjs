import { hash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'

/** Lower-case hex. */
export const sha256 = data => hash('sha256', data, 'hex')

/**
 * Every file below a folder, sorted by path; a link counts as the file that it names. Times and owners are no part of
 * it: the image's layers set them.
 *
 * @returns {{ path: string, digest: string, executable: boolean }[]}
 */
export function listContents (folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => !entry.isDirectory())
    .map(entry => describe(folder, join(entry.parentPath, entry.name)))
    .sort((a, b) => a.path < b.path ? -1 : 1)
}

function describe (folder, file) {
  return { path: relative(folder, file), digest: sha256(readFileSync(file)), executable: (statSync(file).mode & 0o100) !== 0 }
}

/** Paths that are in one list only, or differ. */
export function differences (one, two) {
  const key = ({ digest, executable }) => `${digest} ${executable}`
  const before = new Map(one.map(entry => [entry.path, key(entry)]))
  const after = new Map(two.map(entry => [entry.path, key(entry)]))
  return [...new Set([...before.keys(), ...after.keys()])].filter(path => before.get(path) !== after.get(path))
}
