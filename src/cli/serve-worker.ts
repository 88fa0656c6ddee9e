import closeWithGrace from 'close-with-grace'
import type { Gate } from '../server/gate.js'
import { startWorker } from '../server/worker.js'
import { operatorsLog } from './operators-log.js'

/** What a terminal or a supervisor tells every process of the group: the primary acts on it, and tells the workers. */
const FOR_THE_PRIMARY = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'] as const

/** One worker process of `narrowgate serve`. It ends when the primary has had it drained, or is gone. */
export async function serveWorker (options: { config: string }): Promise<number> {
  const worker = Number(process.env['NARROWGATE_WORKER'])
  const log = operatorsLog({ worker })
  for (const signal of FOR_THE_PRIMARY) process.on(signal, () => {})
  const state: { gate?: Gate } = {}
  closeWithGrace({ delay: 6000, skip: ['beforeExit', ...FOR_THE_PRIMARY] }, async ({ err }) => {
    log.fatal({ err }, 'an uncaught fault: the worker drains and exits')
    await state.gate?.drain(1000)
    process.exitCode = 1
  })
  try {
    state.gate = await startWorker({ configFile: options.config, environment: process.env, log, drained: () => { process.exit(0) } })
  } catch (error) {
    log.fatal({ err: error }, 'the worker can\'t serve')
    process.exit(1)
  }
  return await new Promise(() => {})
}
