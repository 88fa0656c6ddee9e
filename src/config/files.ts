import { createHash } from 'node:crypto'
import { close, open, read, stat, type BigIntStats } from 'node:fs'
import { readdir, stat as statOf } from 'node:fs/promises'
import { join } from 'node:path'
import { ownText } from '../domain/own-text.js'

/** What was found at a path: its bytes, or the system's code why not (`ENOENT`, …). */
export type FileRead =
  | { readonly kind: 'read', readonly bytes: Buffer, readonly mode: number, /** of bytes and mode */ readonly digest: string }
  | { readonly kind: 'failed', readonly code: string }

/** The same of a file that need not be read: as it was when it had this digest. */
export type FileLook = FileRead | { readonly kind: 'same', readonly digest: string }

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
  readFolder (path: string): Promise<{ folder: FolderRead, contents: ReadonlyMap<string, FileLook> }>
  readonly sources: Sources
  /** of all that was read, and of what could not be: changes exactly when an answer would differ */
  hash (): string
}

/** No policy, config file or key is larger. */
export const CAP_BYTES = 1024 * 1024
const MAX_FOLDER_DEPTH = 8
const AT_ONCE = 8

/**
 * A reader of the real file system.
 *
 * @param memory of earlier readers: of a folder's files that it trusts, and that are as they were, only the digest is given
 * @param trusts by absolute path; for files of which something is kept by their digest
 */
export function createReader (memory: FileMemory = new FileMemory(Date.now), trusts: (path: string) => boolean = () => false): Reader {
  const digests = new Map<string, string>()
  const files = new Set<string>()
  const folders = new Set<string>()

  async function readFile (path: string): Promise<FileRead> {
    files.add(path)
    return note(path, await memory.read(path))
  }

  function note<T extends FileLook> (path: string, found: T): T {
    digests.set(path, digestOf(found))
    return found
  }

  async function readFolder (path: string): Promise<{ folder: FolderRead, contents: ReadonlyMap<string, FileLook> }> {
    folders.add(path)
    const folder = await list(path)
    digests.set(`${path}/`, folder.kind === 'read' ? 'folder' : folder.code)
    const contents = new Map<string, FileLook>()
    if (folder.kind === 'read') {
      const reads = await inParallel(folder.files, async file => note(file, trusts(file) ? await memory.look(file) : await memory.read(file)))
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

/** SHA-256 of bytes and mode, or the code. */
function digestOf (found: FileLook): string {
  return found.kind === 'failed' ? found.code : found.digest
}

function hashOf (digests: ReadonlyMap<string, string>): string {
  const hash = createHash('sha256')
  for (const [path, digest] of [...digests].sort(([a], [b]) => a < b ? -1 : 1)) hash.update(`${path}\0${digest}\0`)
  return hash.digest('hex')
}

/** Within the clock's grain two writes can have one time stamp: what is that young is read again. */
const RACY_MS = 2_000

interface Known { readonly stamp: string, readonly digest: string }

interface Stats {
  readonly kind: 'there'
  readonly stats: BigIntStats
  /** device, inode, size, mode and times */
  readonly stamp: string
  /** its last change is long enough ago that the next will show */
  readonly settled: boolean
}

/**
 * Digests of files as they were: one whose size, times, mode and inode are the same, and which is not too young to be
 * trusted, need not be read to be known. For all who look at the same files again and again.
 */
export class FileMemory {
  readonly #known = new Map<string, Known>()
  readonly #now: () => number

  /** @param now epoch milliseconds, by the clock of the files' times */
  constructor (now: () => number) { this.#now = now }

  /**
   * Nothing is trusted any more, and all is read when it is asked for next: a network file system tells of a change at
   * once to who opens a file, and later to who asks for its times.
   */
  forget (): void { this.#known.clear() }

  /** Reads a file, whatever is known of it. */
  async read (path: string): Promise<FileRead> {
    const stats = await this.#stat(path)
    return stats.kind === 'failed' ? stats : await this.#read(path, stats)
  }

  /** Reads a file unless it is as it was. */
  async look (path: string): Promise<FileLook> {
    const stats = await this.#stat(path)
    if (stats.kind === 'failed') return stats
    const known = this.#known.get(path)
    return known?.stamp === stats.stamp ? { kind: 'same', digest: known.digest } : await this.#read(path, stats)
  }

  async #stat (path: string): Promise<Stats | Extract<FileRead, { kind: 'failed' }>> {
    const began = this.#now()
    try {
      const stats = await ask<BigIntStats>(done => { stat(path, { bigint: true }, done) })
      const { dev, ino, size, mode, mtimeNs, ctimeNs } = stats
      return { kind: 'there', stats, stamp: ownText(`${dev} ${ino} ${size} ${mode} ${mtimeNs} ${ctimeNs}`), settled: began - Number(ctimeNs / 1_000_000n) > RACY_MS }
    } catch (error) {
      this.#known.delete(path)
      return { kind: 'failed', code: codeOf(error) }
    }
  }

  async #read (path: string, { stats, stamp, settled }: Stats): Promise<FileRead> {
    const found = await readBytes(path, stats)
    // It may have changed between the two, or change again without another time.
    if (found.kind === 'read' && settled) this.#known.set(path, { stamp, digest: found.digest })
    else this.#known.delete(path)
    return found
  }

  /** The hash that a reader of the same sources has now. What is not of them is forgotten. */
  async hash (sources: Sources): Promise<string> {
    const digests = new Map<string, string>()
    const paths = [...sources.files]
    for (const path of sources.folders) {
      const folder = await list(path)
      digests.set(`${path}/`, folder.kind === 'read' ? 'folder' : folder.code)
      if (folder.kind === 'read') paths.push(...folder.files)
    }
    await inParallel(paths, async path => { digests.set(path, digestOf(await this.look(path))) })
    for (const path of this.#known.keys()) if (!digests.has(path)) this.#known.delete(path)
    return hashOf(digests)
  }
}

/** The hash that a reader of the same sources has now. */
export async function hashSources (sources: Sources): Promise<string> {
  return await new FileMemory(Date.now).hash(sources)
}

/** Every folder that a watcher has to look at for a folder of sources: it and its sub-folders. */
export async function subfolders (path: string, depth: number = 0): Promise<string[]> {
  const { folders } = await entriesOf(path)
  const deeper = depth >= MAX_FOLDER_DEPTH ? [] : await Promise.all(folders.map(folder => subfolders(folder, depth + 1)))
  return [path, ...deeper.flat()]
}

/** The bytes of one regular file; what is none (a pipe, a device, a folder) fails, and is not opened. */
async function readBytes (path: string, stats: BigIntStats): Promise<FileRead> {
  if (!stats.isFile()) return { kind: 'failed', code: stats.isDirectory() ? 'EISDIR' : 'ENOTREG' }
  if (stats.size > CAP_BYTES) return { kind: 'failed', code: 'EFBIG' }
  try {
    const descriptor = await ask<number>(done => { open(path, done) })
    try {
      const bytes = await readAll(descriptor, Number(stats.size))
      const mode = Number(stats.mode)
      return { kind: 'read', bytes, mode, digest: createHash('sha256').update(bytes).update(`${mode}`).digest('hex') }
    } finally {
      await ask(done => { close(descriptor, done) })
    }
  } catch (error) {
    return { kind: 'failed', code: codeOf(error) }
  }
}

/** Up to the end, not up to the size: it may have grown since, and some file systems say 0 for everything. */
async function readAll (descriptor: number, expected: number): Promise<Buffer> {
  let pieces = EMPTY
  for (;;) {
    // One more than is expected: less than was asked for, and not nothing, is all of it.
    const buffer = Buffer.allocUnsafeSlow(Math.max(expected, 4096) + 1)
    const bytesRead = await ask<number>(done => { read(descriptor, buffer, 0, buffer.length, null, done) })
    if (bytesRead > 0) pieces = pieces.length === 0 ? buffer.subarray(0, bytesRead) : Buffer.concat([pieces, buffer.subarray(0, bytesRead)])
    if (bytesRead === 0 || pieces.length === expected) return pieces
    if (pieces.length > CAP_BYTES) throw Object.assign(new Error('too large'), { code: 'EFBIG' })
  }
}

const EMPTY = Buffer.alloc(0)

/** node:fs with callbacks: of a thousand files its promises and handles cost as much again as the reading. */
async function ask<T> (call: (done: (error: NodeJS.ErrnoException | null, value?: T) => void) => void): Promise<T> {
  return await new Promise((resolve, reject) => { call((error, value) => { if (error === null) resolve(value as T); else reject(error) }) })
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
    const isFolder = entry.isDirectory() || (entry.isSymbolicLink() && await statOf(full).then(stats => stats.isDirectory(), () => false))
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
