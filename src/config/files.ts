import { createHash } from 'node:crypto'
import { open, readdir, stat, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { ownText } from '../domain/own-text.js'

/** What was read of a path: its bytes, or the system's code why not (`ENOENT`, …). */
export type FileRead =
  | { readonly kind: 'read', readonly bytes: Buffer, readonly mode: number, /** of bytes and mode, when it is known */ readonly digest?: string }
  | { readonly kind: 'failed', readonly code: string }

/** A folder's tree of files, as absolute paths in the order of their names. */
export type FolderRead =
  | { readonly kind: 'read', readonly files: readonly string[] }
  | { readonly kind: 'failed', readonly code: string }

/** What a snapshot was made of. Watched, and read again to see whether it changed. */
export interface Sources {
  /** absolute paths */
  readonly files: readonly string[]
  readonly folders: readonly string[]
}

/** Reads files and remembers what it read, so that the hash is of exactly those bytes. */
export interface Reader {
  /** A file over CAP_BYTES fails with `EFBIG`. */
  readFile (path: string): Promise<FileRead>
  /** Reads every file of a folder and its sub-folders whose name does not begin with a dot. */
  readFolder (path: string): Promise<{ folder: FolderRead, contents: ReadonlyMap<string, FileRead> }>
  readonly sources: Sources
  /** of all that was read, and of what could not be: changes exactly when an answer would differ */
  hash (): string
}

/** No policy, config file or key is larger. */
export const CAP_BYTES = 1024 * 1024
const MAX_FOLDER_DEPTH = 8
const AT_ONCE = 16

/** A reader of the real file system. */
export function createReader (): Reader {
  const digests = new Map<string, string>()
  const files = new Set<string>()
  const folders = new Set<string>()

  async function readFile (path: string): Promise<FileRead> {
    files.add(path)
    return note(path)
  }

  async function note (path: string): Promise<FileRead> {
    const read = await readBytes(path)
    const digest = digestOf(read)
    digests.set(path, digest)
    return read.kind === 'read' ? { ...read, digest } : read
  }

  async function readFolder (path: string): Promise<{ folder: FolderRead, contents: ReadonlyMap<string, FileRead> }> {
    folders.add(path)
    const folder = await list(path)
    digests.set(`${path}/`, folder.kind === 'read' ? 'folder' : folder.code)
    const contents = new Map<string, FileRead>()
    if (folder.kind === 'read') {
      const reads = await inParallel(folder.files, note)
      folder.files.forEach((file, i) => contents.set(file, reads[i]!))
    }
    return { folder, contents }
  }

  return {
    readFile,
    readFolder,
    get sources () { return { files: [...files], folders: [...folders] } },
    hash: () => hashOf(digests)
  }
}

function digestOf (read: FileRead): string {
  return read.kind === 'read' ? createHash('sha256').update(read.bytes).update(`${read.mode}`).digest('hex') : read.code
}

function hashOf (digests: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256')
  for (const [path, digest] of [...digests].sort(([a], [b]) => a < b ? -1 : 1)) hash.update(`${path}\0${digest}\0`)
  return hash.digest('hex')
}

/** Within the clock's grain two writes can have one time stamp: what is that young is read again. */
const RACY_MS = 2_000

interface Stamp {
  /** device, inode, size, mode and times, or the system's code */
  readonly text: string
  /** epoch milliseconds of the last change */
  readonly changed: number
}

interface Known { readonly stamp: string, readonly digest: string }

/**
 * Finds out again and again whether sources have changed. A file is read when its size, times or inode are others than at the
 * last look, or too young to be trusted; of the others the digest is known.
 */
export class SourceHashes {
  #known: ReadonlyMap<string, Known> = new Map()
  readonly #now: () => number

  /** @param now epoch milliseconds, by the clock of the files' times */
  constructor (now: () => number) { this.#now = now }

  /** The hash that a reader of the same sources has now. */
  async hash (sources: Sources): Promise<string> {
    const digests = new Map<string, string>()
    const paths = [...sources.files]
    for (const path of sources.folders) {
      const folder = await list(path)
      digests.set(`${path}/`, folder.kind === 'read' ? 'folder' : folder.code)
      if (folder.kind === 'read') paths.push(...folder.files)
    }
    const next = new Map<string, Known>()
    await inParallel(paths, async path => {
      const began = this.#now()
      const stamp = await stampOf(path)
      const before = this.#known.get(path)
      const digest = before?.stamp === stamp.text ? before.digest : digestOf(await readBytes(path))
      digests.set(path, digest)
      // It may have changed between the two, or change again without another time.
      if (began - stamp.changed > RACY_MS) next.set(path, { stamp: stamp.text, digest })
    })
    this.#known = next
    return hashOf(digests)
  }
}

/** The hash that a reader of the same sources has now. */
export async function hashSources (sources: Sources): Promise<string> {
  return await new SourceHashes(Date.now).hash(sources)
}

async function stampOf (path: string): Promise<Stamp> {
  try {
    const { dev, ino, size, mode, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
    return { text: ownText(`${dev} ${ino} ${size} ${mode} ${mtimeNs} ${ctimeNs}`), changed: Number(ctimeNs / 1_000_000n) }
  } catch (error) {
    return { text: codeOf(error), changed: Infinity }
  }
}

/** Every folder that a watcher has to look at for a folder of sources: it and its sub-folders. */
export async function subfolders (path: string, depth: number = 0): Promise<string[]> {
  const { folders } = await entriesOf(path)
  const deeper = depth >= MAX_FOLDER_DEPTH ? [] : await Promise.all(folders.map(folder => subfolders(folder, depth + 1)))
  return [path, ...deeper.flat()]
}

/** The bytes of one regular file; what is none (a pipe, a device, a folder) fails, and is not opened. */
async function readBytes (path: string): Promise<FileRead> {
  try {
    const stats = await stat(path)
    if (!stats.isFile()) return { kind: 'failed', code: stats.isDirectory() ? 'EISDIR' : 'ENOTREG' }
    if (stats.size > CAP_BYTES) return { kind: 'failed', code: 'EFBIG' }
    const handle = await open(path)
    try {
      return { kind: 'read', bytes: await readAll(handle, stats.size), mode: stats.mode }
    } finally {
      await handle.close()
    }
  } catch (error) {
    return { kind: 'failed', code: codeOf(error) }
  }
}

/** Up to the end, not up to the size: it may have grown since, and some file systems say 0 for everything. */
async function readAll (handle: FileHandle, expected: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.max(expected, 4096) + 1)
  const pieces: Buffer[] = []
  let size = 0
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, null)
    if (bytesRead === 0) return Buffer.concat(pieces)
    size += bytesRead
    if (size > CAP_BYTES) throw Object.assign(new Error('too large'), { code: 'EFBIG' })
    pieces.push(Buffer.from(buffer.subarray(0, bytesRead)))
  }
}

async function list (path: string): Promise<FolderRead> {
  try {
    return { kind: 'read', files: await walk(path, 0) }
  } catch (error) {
    return { kind: 'failed', code: codeOf(error) }
  }
}

async function walk (path: string, depth: number): Promise<string[]> {
  if (depth > MAX_FOLDER_DEPTH) return []
  const { files, folders } = await entriesOf(path, depth === 0)
  const deeper = await Promise.all(folders.map(folder => walk(folder, depth + 1)))
  return [...files, ...deeper.flat()].sort()
}

/** Names that begin with a dot are Kubernetes' `..data`, editors' leftovers and version control. */
async function entriesOf (path: string, mustExist: boolean = false): Promise<{ files: string[], folders: string[] }> {
  const files: string[] = []
  const folders: string[] = []
  let entries
  try {
    entries = await readdir(path, { withFileTypes: true })
  } catch (error) {
    if (mustExist) throw error
    return { files, folders }
  }
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue
    const full = join(path, entry.name)
    const isFolder = entry.isDirectory() || (entry.isSymbolicLink() && await stat(full).then(stats => stats.isDirectory(), () => false))
    ;(isFolder ? folders : files).push(full)
  }
  return { files, folders }
}

/** Thousands of files without as many open descriptors. */
async function inParallel<T, R> (items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length)
  let next = 0
  const work = async () => { while (next < items.length) { const i = next++; results[i] = await run(items[i]!) } }
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, work))
  return results
}

function codeOf (error: unknown): string {
  return String((error as { code?: unknown }).code ?? 'EUNKNOWN')
}
