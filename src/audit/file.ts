import { closeSync, constants, fstatSync, openSync, readSync, statSync, writeSync } from 'node:fs'
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

function isSame (path: string, fd: number): boolean {
  const now = statSync(path, { throwIfNoEntry: false })
  if (now === undefined) return false
  const open = fstatSync(fd)
  return now.ino === open.ino && now.dev === open.dev
}
