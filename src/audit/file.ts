import { closeSync, constants, fdatasync, fstatSync, fsyncSync, ftruncateSync, openSync, readdirSync, readSync, renameSync, statSync, unlinkSync, writeSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { readStatement, unchained } from './chain.js'
import { REMOVED, type Disk, type Opened } from './journal.js'
import { createLines, type Bounds, type Sink, type Target } from './lines.js'
import { processTiming } from './timing.js'

/** How often the path is compared with the open file, so that logrotate needs no signal. */
const CHECK_MS = 1_000
// O_NONBLOCK: a named pipe without a reader is an error then instead of a process that stands still.
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK
const OWNER_ONLY = 0o600

/**
 * Appends to a file, created with mode 0600. Follows a rename or removal within a second. A line that an
 * earlier process left unfinished is ended first.
 *
 * @param path absolute path; its directory has to exist
 */
export function fileSink (path: string, bounds?: Bounds): Sink {
  return createLines(`file ${path}`, fileTarget(path), processTiming, bounds)
}

function fileTarget (path: string): Target {
  let fd: number | undefined
  let checked = 0

  function release (): void {
    if (fd === undefined) return
    const old = fd
    fd = undefined
    closeSync(old)
  }

  return {
    write (bytes) {
      fd ??= open(path)
      return typeof bytes === 'string' ? writeSync(fd, bytes) : writeSync(fd, bytes)
    },
    moved () {
      const now = performance.now()
      if (fd === undefined || now - checked < CHECK_MS) return false
      checked = now
      return !isSame(path, fd)
    },
    reopen: release,
    close: release
  }
}

function open (path: string): number {
  const fd = openSync(path, APPEND, OWNER_ONLY)
  try {
    if (endsInside(path, fd)) writeSync(fd, '\n')
  } catch (error) {
    closeSync(fd)
    throw error
  }
  return fd
}

/** True when a regular file's last byte ends no line. */
function endsInside (path: string, fd: number): boolean {
  const stats = fstatSync(fd)
  if (!stats.isFile() || stats.size === 0) return false
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const last = Buffer.alloc(1)
    return readSync(reader, last, 0, 1, stats.size - 1) === 1 && last[0] !== 0x0a
  } finally {
    closeSync(reader)
  }
}

/** How many names an open file has; undefined: nobody knows. The kernel answers from memory, so that no thread is woken for it. */
function links (fd: number): number | undefined {
  try { return fstatSync(fd).nlink } catch { return undefined }
}

function isSame (path: string, fd: number): boolean {
  const now = statSync(path, { throwIfNoEntry: false })
  if (now === undefined) return false
  const open = fstatSync(fd)
  return now.ino === open.ino && now.dev === open.dev
}

/** Longest line that the end of a file is searched for; events have a few kilobytes. */
const TAIL_BYTES = 1024 * 1024
const HEAD_BYTES = 16 * 1024

/** What stands at a path: `special` is a pipe or a device, which can be written and not flushed, rotated or read back. */
export function fileKind (path: string): 'file' | 'special' | 'absent' {
  const stats = statSync(path, { throwIfNoEntry: false })
  return stats === undefined ? 'absent' : stats.isFile() ? 'file' : 'special'
}

/** Files that were put aside, oldest first: `path.20261122T101500123Z`. */
export function rotatedFiles (path: string): string[] {
  const start = `${basename(path)}.`
  try {
    return readdirSync(dirname(path)).filter(name => name.startsWith(start) && STAMP.test(name.slice(start.length))).sort().map(name => join(dirname(path), name))
  } catch {
    return []
  }
}

const STAMP = /^[0-9]{8}T[0-9]{9}Z(?:-[0-9]+)?(?:\.gz)?$/

/**
 * A regular file as a journal's disk.
 *
 * @param keep how many files that were put aside are kept; undefined: all
 */
export function fileDisk (path: string, keep?: number): Disk {
  let fd: number | undefined
  let checked = 0

  return {
    open () {
      const isNew = fileKind(path) === 'absent'
      fd = openSync(path, APPEND, OWNER_ONLY)
      if (isNew) syncFolder(dirname(path))
      return inspect(path, fd)
    },
    write: bytes => writeSync(fd!, bytes),
    cut (size) { ftruncateSync(fd!, size) },
    sync (done) {
      const flushed = fd!
      fdatasync(flushed, error => {
        if (error !== null) { done(error.code ?? 'EUNKNOWN'); return }
        // What is in a file without a name is gone when it is closed.
        done(links(flushed) === 0 ? REMOVED : undefined)
      })
    },
    moved (atOnce = false) {
      const now = performance.now()
      if (fd === undefined || (!atOnce && now - checked < CHECK_MS)) return false
      checked = now
      const there = statSync(path, { throwIfNoEntry: false })
      return there === undefined || !isSame(path, fd)
    },
    rotate (now) {
      const stamp = new Date(now).toISOString().replace(/[-:.]/g, '')
      let aside = `${path}.${stamp}`
      for (let i = 1; fileKind(aside) !== 'absent'; i++) aside = `${path}.${stamp}-${i}`
      renameSync(path, aside)
      syncFolder(dirname(path))
      if (keep !== undefined) for (const old of rotatedFiles(path).slice(0, -keep)) unlinkSync(old)
    },
    close () {
      if (fd === undefined) return
      const old = fd
      fd = undefined
      closeSync(old)
    }
  }
}

/** A new name is on the disk only when its folder is. */
function syncFolder (folder: string): void {
  const fd = openSync(folder, constants.O_RDONLY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function inspect (path: string, fd: number): Opened {
  const stats = fstatSync(fd)
  const since = stats.birthtimeMs > 0 ? stats.birthtimeMs : stats.ctimeMs
  if (stats.size === 0) {
    const previous = rotatedFiles(path).findLast(name => !name.endsWith('.gz'))
    return { size: 0, since, torn: 0, chain: previous === undefined ? undefined : chainOf(previous)?.chain }
  }
  const { chain, end } = chainOf(path) ?? { chain: undefined, end: stats.size }
  if (end < stats.size) ftruncateSync(fd, end)
  return { size: end, since, torn: stats.size - end, chain }
}

/** The chain at the end of a file, and where its last whole line ends. */
function chainOf (path: string): { readonly chain: Opened['chain'], readonly end: number } | undefined {
  const fd = openSync(path, constants.O_RDONLY)
  try {
    const { size } = fstatSync(fd)
    const from = Math.max(0, size - TAIL_BYTES)
    const tail = readAt(fd, from, size - from)
    const end = tail.lastIndexOf(0x0a) + 1
    if (end === 0) return { chain: undefined, end: from === 0 ? 0 : size }
    const last = tail.toString('utf8', tail.lastIndexOf(0x0a, end - 2) + 1, end - 1)
    const state = unchained(last)?.state
    const head = readAt(fd, 0, Math.min(size, HEAD_BYTES)).toString('utf8').split('\n', 1)[0]!
    const start = readStatement(head)?.statement
    return { chain: state === undefined || start?.kind !== 'start' ? undefined : { ...state, chain: start.chain, file: start.file }, end: from + end }
  } finally {
    closeSync(fd)
  }
}

function readAt (fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.alloc(length)
  let read = 0
  while (read < length) {
    const count = readSync(fd, buffer, read, length - read, position + read)
    if (count === 0) break
    read += count
  }
  return buffer.subarray(0, read)
}
