import type { AuditEvent } from '../domain/event.js'
import type { DurableSink } from './journal.js'
import type { Sink, SinkStatus } from './lines.js'
import { createPlainLines } from './plain.js'
import { withoutKeys } from './redact.js'
import { createSummary } from './summary.js'
import { processTiming } from './timing.js'

/** A sink with what it wants of the events. */
export interface Outlet {
  readonly sink: Sink | DurableSink
  /** outlets with the same function share its line */
  readonly serialize: (event: AuditEvent) => string
  /** absent: every event */
  readonly filter?: (event: AuditEvent) => boolean
  /** an intent has to be on the disk before its write is forwarded */
  readonly required: boolean
  /** takes the checkpoints of other sinks' chains, as anchors */
  readonly anchors: boolean
}

/** Where every request ends up. No method throws. */
export interface AuditLog {
  /**
   * Serialises the event now; it is written when this turn of the event loop ends.
   *
   * @param flood true: others like it of the same source are put together, ten seconds in one event with their number
   */
  record (event: AuditEvent, flood?: boolean): void
  /**
   * Before a write is forwarded: its intent. Undefined when no sink asks for one; else true when every sink that does
   * has it on the disk, false when one can't.
   */
  intend (intent: AuditEvent): Promise<boolean> | undefined
  /** whether some sink asks for intents */
  readonly wantsIntents: boolean
  /** A line of the log's own for the sinks that keep anchors. */
  anchor (line: string, from: Sink): void
  /** Writes now what this turn has recorded. */
  flush (): void
  /** false: some sink does not take lines at the moment; the server refuses writes then */
  readonly healthy: boolean
  /** true: a sink that has promised to lose nothing has room for nothing more; the server refuses reads, too */
  readonly full: boolean
  /** events recorded since the start */
  readonly made: number
  /** events that are part of another one's count */
  readonly folded: number
  /** intents whose requests are not over */
  readonly open: ReadonlyMap<string, AuditEvent>
  /** of each sink, in the order of the configuration */
  readonly sinks: readonly (SinkStatus & { readonly name: string, readonly made: number })[]
  /** SIGHUP: opens files anew */
  reopen (): void
  /** Writes what is waiting, within `deadlineMs`, and closes the sinks. */
  close (deadlineMs?: number): Promise<void>
}

/** Part of a sink's room from which refusals for want of room are put together, and from which reads are refused, too. */
const FOLD_FROM = 0.95
const FULL_FROM = 0.98

/** Refused guesses that get a line each since the start; a flood beyond that is summed up. */
const LINES_OF_GUESSES = 1000

/** An audit log over one sink or several; each gets every line, in the plain format unless its outlet says otherwise. */
export function createAuditLog (targets: readonly (Sink | Outlet)[], redact?: (event: AuditEvent) => AuditEvent): AuditLog {
  const plain = createPlainLines()
  const outlets = targets.map((target): Outlet & { made: number } => ({ ...'sink' in target ? target : { sink: target, serialize: plain, required: false, anchors: false }, made: 0 }))
  const promised = outlets.filter(outlet => outlet.required && 'writeDurable' in outlet.sink)
  const open = new Map<string, AuditEvent>()
  const summary = createSummary(processTiming, write, () => used() < FOLD_FROM)
  let made = 0
  let guesses = 0

  function shownOf (event: AuditEvent): AuditEvent {
    const keyless = withoutKeys(event)
    return redact === undefined ? keyless : redact(keyless)
  }

  function used (): number {
    let most = 0
    for (const { sink } of promised) most = Math.max(most, sink.status.used)
    return most
  }

  /** What would fill the log, and says the same again and again. */
  function isFlood ({ reason, stage }: AuditEvent): boolean {
    if (reason === 'too_many_failures') return ++guesses > LINES_OF_GUESSES
    return reason === 'audit_unavailable' && stage === 'record' && used() >= FOLD_FROM
  }

  /** One line per format, whatever the number of sinks. */
  function write (event: AuditEvent): void {
    const shown = shownOf(event)
    let serialize: Outlet['serialize'] | undefined
    let line = ''
    for (const outlet of outlets) {
      if (outlet.filter?.(shown) === false) continue
      if (outlet.serialize !== serialize) line = (serialize = outlet.serialize)(shown)
      outlet.made++
      outlet.sink.write(line)
    }
  }

  return {
    record (event, flood = false) {
      made++
      if (event.phase === undefined) {
        if (open.size > 0) open.delete(event.id)
        if ((flood || isFlood(event)) && summary.take(event)) return
      }
      write(event)
    },
    intend (intent) {
      if (promised.length === 0) return undefined
      made++
      open.set(intent.id, intent)
      const shown = shownOf(intent)
      // Sinks without the promise get one line a request, its outcome.
      const asked = promised.map(outlet => {
        if (outlet.filter?.(shown) === false) return true
        outlet.made++
        return (outlet.sink as DurableSink).writeDurable(outlet.serialize(shown))
      })
      return Promise.all(asked).then(answers => answers.every(Boolean))
    },
    anchor (line, from) {
      for (const outlet of outlets) if (outlet.anchors && outlet.sink !== from) { outlet.made++; outlet.sink.write(line) }
    },
    flush () { for (const { sink } of outlets) sink.flush() },
    wantsIntents: promised.length > 0,
    get healthy () { return outlets.every(({ sink }) => sink.status.healthy) },
    get full () { return promised.length > 0 && used() >= FULL_FROM },
    get made () { return made },
    get folded () { return summary.folded },
    get open () { return open },
    get sinks () { return outlets.map(({ sink, made }) => { const { extra, ...status } = sink.status; return { name: sink.name, ...status, extra, made: made + extra } }) },
    reopen () { for (const { sink } of outlets) sink.reopen() },
    async close (deadlineMs) {
      summary.flush()
      await Promise.all(outlets.map(({ sink }) => sink.close(deadlineMs)))
    }
  }
}
