import type { AuditEvent } from '../domain/event.js'
import type { Sink, SinkStatus } from './lines.js'
import { createPlainLines } from './plain.js'

/** Where every request ends up. No method throws. */
export interface AuditLog {
  /** Serialises the event now; it is written when this turn of the event loop ends. */
  record (event: AuditEvent): void
  /** Writes now what this turn has recorded. */
  flush (): void
  /** false: some sink does not take lines at the moment; the server refuses writes then */
  readonly healthy: boolean
  /** events recorded since the start */
  readonly made: number
  /** of each sink, in the order of the configuration */
  readonly sinks: readonly (SinkStatus & { readonly name: string })[]
  /** SIGHUP: opens files anew */
  reopen (): void
  /** Writes what is waiting, within `deadlineMs`, and closes the sinks. */
  close (deadlineMs?: number): Promise<void>
}

/**
 * An audit log over one sink or several; each gets every line.
 * @param serialize one event → one line; the default is the plain format
 */
export function createAuditLog (sinks: readonly Sink[], serialize: (event: AuditEvent) => string = createPlainLines()): AuditLog {
  let made = 0
  return {
    record (event) {
      made++
      const line = serialize(event)
      for (const sink of sinks) sink.write(line)
    },
    flush () { for (const sink of sinks) sink.flush() },
    get healthy () { return sinks.every(sink => sink.status.healthy) },
    get made () { return made },
    get sinks () { return sinks.map(sink => ({ name: sink.name, ...sink.status })) },
    reopen () { for (const sink of sinks) sink.reopen() },
    async close (deadlineMs) { await Promise.all(sinks.map(sink => sink.close(deadlineMs))) }
  }
}
