import { writeSync } from 'node:fs'
import { createLines, type Bounds, type Sink } from './lines.js'
import { processTiming } from './timing.js'

/**
 * Writes to standard output. Naming `process.stdout` makes Node set a pipe or socket to non-blocking: a
 * reader that stands still is a full queue then, and not a gate that stands still.
 */
export function stdoutSink (bounds?: Bounds): Sink {
  const fd = (process.stdout as NodeJS.WriteStream & { fd: 1 }).fd
  return createLines('stdout', {
    write: bytes => typeof bytes === 'string' ? writeSync(fd, bytes) : writeSync(fd, bytes),
    reopen () {},
    close () {}
  }, processTiming, bounds)
}
