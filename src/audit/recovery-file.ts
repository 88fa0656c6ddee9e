import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { AuditEvent } from '../domain/event.js'
import { parseEvent } from './parse.js'

/** Every format writes an event's ids with these words; the rest of the line is parsed only for intents. */
const INTENT = /"(?:phase|event_code)":"intent"/
const ID = /"(?:id|correlation_uid)":"([^":]{1,64})"/g

/**
 * The intents of a log whose requests have no end in it: those of a gate that was killed. Journals copy open intents
 * into each new file, so the newest file is enough.
 */
export async function openIntents (path: string): Promise<Map<string, AuditEvent>> {
  const open = new Map<string, AuditEvent>()
  const input = createReadStream(path, { highWaterMark: 1024 * 1024 })
  try {
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      if (INTENT.test(line)) {
        const event = parseEvent(line)
        if (event !== undefined) open.set(event.id, event)
      } else if (open.size > 0) end(open, line)
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  return open
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
