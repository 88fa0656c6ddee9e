import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'
import type { AuditEvent } from '../domain/event.js'
import { parseEvent } from './parse.js'

/** Every format writes an event's ids with these words; the rest of the line is parsed only for intents. */
const INTENT = /"(?:phase|event_code)":"intent"/
const ID = /"(?:id|correlation_uid)":"([^":]{1,64})"/g

/**
 * The intents of a log whose requests have no end in it: those of a gate that was killed.
 *
 * @param paths the newest files, oldest first. A journal copies open intents into each new file; a gate that was killed
 *   while it did that has left the rest of them in the file before, so two are enough and one is not
 */
export async function openIntents (paths: readonly string[]): Promise<Map<string, AuditEvent>> {
  const open = new Map<string, AuditEvent>()
  for (const path of paths) {
    try {
      for await (const line of createInterface({ input: read(path), crlfDelay: Infinity })) {
        if (INTENT.test(line)) {
          const event = parseEvent(line)
          if (event !== undefined) open.set(event.id, event)
        } else if (open.size > 0) end(open, line)
      }
    } catch (error) {
      // What somebody zipped by halves must not keep the gate from starting.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && !path.endsWith('.gz')) throw error
    }
  }
  return open
}

function read (path: string): NodeJS.ReadableStream {
  const stream = createReadStream(path, { highWaterMark: 1024 * 1024 })
  if (!path.endsWith('.gz')) return stream
  const unzipped = createGunzip()
  stream.on('error', error => unzipped.destroy(error))
  return stream.pipe(unzipped)
}

/** Only lines that may name an open request are parsed. */
function end (open: Map<string, AuditEvent>, line: string): void {
  for (const [, id] of line.matchAll(ID)) {
    if (!open.has(id!)) continue
    const event = parseEvent(line)
    if (event !== undefined && event.phase === undefined) open.delete(event.id)
    return
  }
}

/** What is recorded of a request whose end nobody saw. */
export function unknownEnd ({ phase: _, ...intent }: AuditEvent): AuditEvent {
  return { ...intent, outcome: 'unknown', detail: 'the gate stopped before the outcome was known: the call may have been executed' }
}
