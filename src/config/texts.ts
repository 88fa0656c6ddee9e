import { isUtf8 } from 'node:buffer'
import { basename, dirname, join, relative, sep } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { Problem } from '../domain/problem.js'
import type { FilePlace } from './config.js'
import { CAP_BYTES, type FileLook, type Reader } from './files.js'
import type { SourceFile } from './load.js'

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'the gate may not read it: permission denied',
  EISDIR: 'it is a folder, not a file',
  ENOTDIR: 'it is not a folder',
  ENOTREG: 'it is no regular file',
  ELOOP: 'its symbolic links go in a circle'
}

/** How many files are looked at in one turn of the event loop. */
const FILES_A_TURN = 200

/** The system's reason in words; the code where we have none. */
export function reasonOf (code: string): string {
  return code === 'EFBIG' ? `it is larger than ${CAP_BYTES} bytes` : WORDS[code] ?? `it cannot be read (${code})`
}

/**
 * Reads the config file.
 * @param path absolute
 * @param shown what problems call it: the path as the operator wrote it
 */
export async function readConfigFile (reader: Reader, path: string, shown: string): Promise<{ source?: SourceFile, problems: Problem[] }> {
  return decode(shown, await reader.readFile(path))
}

/**
 * Reads the policies folder: `*.yaml` (operations.yaml included) and `sets/**.yaml`. Problems call a file
 * by its path from the config file's folder. JSON files are kept for policies that name one (`jwks`), by their path
 * inside the folder.
 *
 * @param directory absolute path of the config file's folder
 */
export async function readPolicyFiles (reader: Reader, policies: FilePlace, directory: string): Promise<{ sources: SourceFile[], attachments: Map<string, string>, problems: Problem[] }> {
  const attachments = new Map<string, string>()
  const { folder, contents } = await reader.readFolder(policies.path)
  const refuse = (message: string) => ({ sources: [], attachments, problems: [{ severity: 'error' as const, ...policies.place, message }] })
  if (folder.kind === 'failed') return refuse(`the policies folder cannot be read: ${reasonOf(folder.code)}`)
  const sources: SourceFile[] = []
  const problems: Problem[] = []
  const prefix = join(relative(directory, policies.path), sep)
  let count = 0
  for (const [path, read] of contents) {
    // Thousands of files: whoever waits for an answer gets one meanwhile.
    if (++count % FILES_A_TURN === 0) await turn()
    const inside = path.slice(policies.path.length + 1)
    const shown = prefix + inside
    if (inside.endsWith('.json') && read.kind === 'read') attachments.set(inside.replaceAll(sep, '/'), read.bytes.toString('utf8'))
    if (!isLoaded(inside)) { problems.push(...misnamed(inside, shown)); continue }
    const decoded = decode(shown, read, inside)
    if (decoded.source !== undefined) sources.push(decoded.source)
    problems.push(...decoded.problems)
  }
  if (sources.length === 0 && problems.length === 0) return { sources, attachments, problems: [{ severity: 'warning', ...policies.place, message: 'the policies folder holds no policy: every call is refused' }] }
  return { sources, attachments, problems }
}

function isLoaded (inside: string): boolean {
  const folder = dirname(inside)
  return inside.endsWith('.yaml') && (folder === '.' || folder === 'sets' || folder.startsWith(`sets${sep}`))
}

/** A policy that is silently not loaded is the worst way to find out about a file's name. */
function misnamed (inside: string, shown: string): Problem[] {
  const at = { severity: 'warning' as const, file: shown, line: 1, column: 1 }
  if (/\.ya?ml$/i.test(inside) && !inside.endsWith('.yaml')) return [{ ...at, message: 'is not loaded: its name does not end in .yaml', hint: `rename it to ${basename(inside).replace(/\.ya?ml$/i, '.yaml')}` }]
  if (inside.endsWith('.yaml')) return [{ ...at, message: 'is not loaded: only the policies folder itself and its folder sets are', hint: 'move it there' }]
  return []
}

/** The text of a file is needed that was not read, since it is as it was: read all of them. */
export class UnreadText extends Error {}

/** A file whose text is made when it is asked for: of most files only the digest is, at a reload. */
class TextFile implements SourceFile {
  readonly path: string
  readonly name: string | undefined
  readonly digest: string
  readonly #bytes: Buffer | undefined
  #text: string | undefined

  constructor (path: string, name: string | undefined, digest: string, bytes: Buffer | undefined) {
    this.path = path
    this.name = name
    this.digest = digest
    this.#bytes = bytes
  }

  /** @throws UnreadText */
  get text (): string {
    if (this.#bytes === undefined) throw new UnreadText(this.path)
    this.#text ??= new TextDecoder('utf-8').decode(this.#bytes)
    return this.#text
  }
}

function decode (shown: string, read: FileLook, name?: string): { source?: SourceFile, problems: Problem[] } {
  const refuse = (line: number, column: number, message: string) => ({ problems: [{ severity: 'error' as const, file: shown, line, column, message }] })
  if (read.kind === 'failed') return refuse(1, 1, reasonOf(read.code))
  const bytes = read.kind === 'read' ? read.bytes : undefined
  if (bytes === undefined || isUtf8(bytes)) return { source: new TextFile(shown, name, read.digest, bytes), problems: [] }
  const { line, column } = firstBadByte(bytes)
  return refuse(line, column, 'is not valid UTF-8')
}

/** Place of the first byte that is not UTF-8: the longest prefix that decodes ends before it. */
function firstBadByte (bytes: Buffer): { line: number, column: number } {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
  let at = text.indexOf('\ufffd')
  // A replacement character may also stand in the file itself.
  while (at >= 0 && bytes.subarray(Buffer.byteLength(text.slice(0, at))).subarray(0, 3).equals(Buffer.from('\ufffd'))) at = text.indexOf('\ufffd', at + 1)
  const before = text.slice(0, Math.max(0, at)).split('\n')
  return { line: before.length, column: before.at(-1)!.length + 1 }
}
