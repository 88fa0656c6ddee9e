import type { FailureCount } from '../clients/failures.js'
import type { SeenOnce, Use as UseResult } from '../clients/seen-once.js'
import { readTokenKeys } from '../clients/token-keys.js'
import { SecretStores } from '../config/secret-stores.js'
import { reject } from '../domain/rejection.js'
import { Secret } from '../domain/secret.js'
import type { RelayAnswer } from '../limits/relay-wire.js'
import { RelayedStore } from '../limits/relayed.js'
import type { LimitStore } from '../limits/store.js'
import { openAudit } from './audit.js'
import { Channel, type Item } from './channel.js'
import { Gate, type GateOptions } from './gate.js'
import { isUsable, LoadFault, type Usable } from './usable.js'
import { auditFor } from './left-behind.js'
import { laterOn, lineOf } from './limits.js'
import { loadEverything, LoadMemory } from './load.js'
import type { KnownIdentities } from './self-keeper.js'
import { Parts, type Failed, type FailedAnswer, type Joined, type Loading, type Use } from './worker-talk.js'

/** What a worker has from its primary, in place of its own. */
export interface Member {
  readonly worker: number
  /** absent: the shared store of the configuration */
  readonly limits?: LimitStore
  /** absent: the shared store, where there is one */
  readonly seen?: SeenOnce
  readonly failures: FailureCount
  readonly clientFailures: FailureCount
  /** the primary writes to standard output for all: false while its reader stands still */
  readonly stdoutHealthy: () => boolean
  /** Okta has refused a credential: the primary may know of a newer one */
  readonly refused: () => void
  /** waits until what has been loaded may serve */
  readonly mayServe: (gate: Gate) => Promise<void>
}

/** How long the primary may take where it need not wait for others. */
const ANSWER_MS = 1000
/** The longest that a start may have to wait for its turn. */
const TURN_MS = 600_000

/**
 * One worker process of a gate: serves what the primary hands it, until the primary says otherwise or is gone.
 *
 * @param options.drained the primary has had it drained: the process may end
 * @returns the gate, once it serves
 */
export async function startWorker (options: GateOptions & { readonly drained: () => void }): Promise<Gate> {
  const { configFile, environment, log } = options
  const parts = new Parts()
  const memory = new LoadMemory()
  const steadyNow = (): number => performance.timeOrigin + performance.now()
  const state = { gate: undefined as Gate | undefined, prepared: undefined as { readonly number: number, readonly loaded: Usable } | undefined, serving: false, stdoutHealthy: true }
  const relayed: RelayedStore = new RelayedStore({ push: step => { channel.push(step as unknown as Item) }, later: laterOn(steadyNow), clock: steadyNow, lazy: true })
  const channel: Channel = new Channel({
    post: items => process.connected && (process.send!(items, undefined, {}, () => {}), true),
    onLimit: item => { relayed.hear(item as unknown as RelayAnswer) },
    onNote: (topic, value) => { hear(topic, value) },
    onAsk: answer
  })
  process.on('message', (items: unknown) => { if (Array.isArray(items)) channel.receive(items as Item[]) })

  function hear (topic: string, value: unknown): void {
    if (parts.take(topic, value)) return
    const { gate } = state
    switch (topic) {
      case 'commit': if (state.prepared?.number === value) gate!.swap(state.prepared!.loaded); state.prepared = undefined; return
      case 'abandon': state.prepared = undefined; return
      case 'self': gate?.knows(value as KnownIdentities); return
      case 'reopen': gate?.reopenAudit(); return
      case 'level': log.level = value as string; return
      case 'stdout': state.stdoutHealthy = value as boolean; return
      default: throw new Error(`the primary says ${topic}`)
    }
  }

  async function answer (topic: string, value: unknown): Promise<unknown> {
    const { gate } = state
    switch (topic) {
      case 'prepare': {
        const recorded = parts.whole
        const loaded = await loadEverything(configFile, environment, Date.now(), { recorded, memory })
        if (!isUsable(loaded)) return loaded.problems.find(({ severity }) => severity === 'error')?.message ?? 'it would not load'
        state.prepared = { number: recorded.number, loaded }
        return null
      }
      case 'status': return await gate!.overview.status()
      case 'limits': return await gate!.overview.limits()
      case 'metrics': return await gate!.overview.ownMetrics()
      case 'drain': {
        if (state.serving) await gate!.drain(value as number)
        const metrics = gate === undefined ? null : await gate.overview.ownMetrics()
        // What was said has to be on its way first.
        setTimeout(options.drained, 20)
        return metrics
      }
      default: throw new Error(`the primary asks for ${topic}`)
    }
  }

  try {
    const joined = await channel.ask('join', undefined, TURN_MS) as Joined
    if (joined.level !== undefined) log.level = joined.level
    let { number } = parts.whole
    let loaded = await loadEverything(configFile, environment, Date.now(), { recorded: parts.whole, memory })
    if (!isUsable(loaded)) throw new LoadFault(loaded.problems, loaded.texts)
    const member: Member = {
      worker: joined.worker,
      limits: joined.relayed ? relayed : undefined,
      seen: joined.relayed ? { use: async (owner, text, untilMs) => await channel.ask('use', [owner, text, untilMs] satisfies Use, ANSWER_MS).catch(() => 'full') as UseResult } : undefined,
      failures: countAt(channel, 'source'),
      clientFailures: countAt(channel, 'client'),
      stdoutHealthy: () => state.stdoutHealthy,
      refused: () => { channel.note('refused') },
      async mayServe (gate) {
        state.gate = gate
        while (await channel.ask('loaded', number, TURN_MS) as Loading === 'again') {
          number = parts.whole.number
          loaded = await loadEverything(configFile, environment, Date.now(), { recorded: parts.whole, memory })
          if (!isUsable(loaded)) throw new LoadFault(loaded.problems, loaded.texts)
          gate.swap(loaded)
        }
      }
    }
    const { config, secrets } = loaded
    const tokenKeys = await readTokenKeys([new Secret(joined.tokenKey)])
    const gate = new Gate({ ...options, member, memory, line: await lineOf(config) }, loaded, new SecretStores({ clock: () => performance.now(), notice: () => {} }), tokenKeys, await openAudit(auditFor(config.audit, joined.worker), secrets, log))
    gate.knows(joined.self)
    await gate.listen(loaded)
    state.serving = true
    channel.note('listening', gate.url)
    return gate
  } catch (error) {
    channel.note('fault', error instanceof Error ? error.message : String(error))
    await new Promise(resolve => { setTimeout(resolve, 100) })
    throw error
  }
}

/** Failures of all workers, counted by the primary. Without an answer the failure itself is what is answered. */
function countAt (channel: Channel, whose: Failed[0]): FailureCount {
  return {
    async failed (source) {
      const wait = await channel.ask('failed', [whose, source] satisfies Failed, ANSWER_MS).catch(() => null) as FailedAnswer
      return wait === null ? undefined : reject('too_many_failures', { wait })
    }
  }
}
