import type { Logger } from 'pino'
import type { SinkStatus } from '../audit/lines.js'

type Named = SinkStatus & { readonly name: string }

interface Said { healthy: boolean, collector: string | undefined, rejected: number, dropped: number }

/** Tells the operators' log what becomes of the audit sinks: once when something begins, once when it ends. */
export class SinkNotices {
  readonly #log: Logger
  readonly #said = new Map<string, Said>()

  constructor (log: Logger) { this.#log = log }

  /** To be called every second or so. */
  look (sinks: Iterable<Named>): void {
    for (const sink of sinks) {
      const { name, healthy, error, collector, dropped } = sink
      const rejected = sink.rejected ?? 0
      let said = this.#said.get(name)
      if (said === undefined) this.#said.set(name, said = { healthy: true, collector: undefined, rejected: 0, dropped: 0 })
      if (healthy !== said.healthy) {
        if (healthy) this.#log.info({ sink: name }, 'the audit sink takes lines again')
        else this.#log.error({ sink: name, error }, 'an audit sink takes no lines: all calls but GET are refused until it does')
      }
      if (collector !== undefined && said.collector === undefined) this.#log.warn({ sink: name, why: collector }, 'the collector takes nothing: audit lines wait on the disk')
      else if (collector !== undefined && collector !== said.collector) this.#log.warn({ sink: name, why: collector }, 'the collector still takes nothing')
      else if (collector === undefined && said.collector !== undefined) this.#log.info({ sink: name }, 'the collector takes audit lines again')
      if (rejected > said.rejected) this.#log.error({ sink: name, lines: rejected - said.rejected }, 'the collector refused audit lines for what they hold: they are in rejected.jsonl beside the spool')
      if (dropped > said.dropped) this.#log.error({ sink: name, lines: dropped - said.dropped }, 'audit lines were lost: there was no room for them')
      Object.assign(said, { healthy, collector, rejected, dropped })
    }
  }
}
