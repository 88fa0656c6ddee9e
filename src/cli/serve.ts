import cluster from 'node:cluster'
import closeWithGrace from 'close-with-grace'
import { formatProblem } from '../domain/problem.js'
import { excerpt } from '../policy/excerpt.js'
import { DRAIN_MS } from '../server/gate.js'
import { startGate } from '../server/start.js'
import { LoadFault } from '../server/usable.js'
import { boundHeap } from './heap.js'
import { operatorsLog } from './operators-log.js'

/**
 * `narrowgate serve`: runs the gate until SIGTERM or SIGINT, then drains. The operators' log goes to stderr, so that
 * stdout belongs to the audit sink of that name.
 */
export async function serve (options: { config: string }): Promise<number> {
  boundHeap()
  // Where the configuration asks for several processes, each is this command again.
  if (cluster.isWorker) return await import('./serve-worker.js').then(async ({ serveWorker }) => await serveWorker(options))
  // The way to Okta verifies all the same; those to issuers, stores and collectors are node's, which believes this.
  if (process.env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0') {
    process.stderr.write('narrowgate: not started: NODE_TLS_REJECT_UNAUTHORIZED=0 is set, so nobody would be asked for a certificate that can be trusted: unset it; NODE_EXTRA_CA_CERTS=FILE adds a CA of your own\n')
    return 2
  }
  const log = operatorsLog(null)
  const usual = log.level
  let gate
  try {
    gate = await startGate({ configFile: options.config, environment: process.env, log })
  } catch (error) {
    if (!(error instanceof LoadFault)) throw error
    for (const problem of error.problems) process.stderr.write(`${excerpt(problem, error.texts.get(problem.file))}\n`)
    const errors = error.problems.filter(problem => problem.severity === 'error').length
    process.stderr.write(`narrowgate: not started: ${errors} ${errors === 1 ? 'problem' : 'problems'}, first ${formatProblem(error.problems.find(problem => problem.severity === 'error')!)}\n`)
    return 2
  }
  const running = gate
  process.on('SIGHUP', () => {
    running.reopenAudit()
    running.rereadSecrets().then(async () => await running.reload(true)).catch((error: unknown) => { log.error({ err: error }, 'a reload failed') })
  })
  process.on('SIGUSR2', () => {
    log.level = log.level === usual ? 'debug' : usual
    running.levelChanged()
    log.info({ level: log.level }, 'log level changed')
  })
  return await new Promise(resolve => {
    // close-with-grace would take these two for a reason to stop as well.
    closeWithGrace({ delay: DRAIN_MS + 5000, skip: ['beforeExit', 'SIGHUP', 'SIGUSR2'] }, async ({ signal, err }) => {
      if (err !== undefined) log.fatal({ err }, 'an uncaught fault: the gate drains and exits')
      else log.info({ signal }, 'draining')
      await running.drain(err === undefined ? DRAIN_MS : 1000)
      log.info('drained')
      resolve(err === undefined ? 0 : 1)
    })
    // Said when a signal drains: one that comes before would end the process at once.
    log.info({ url: running.url, adminUrl: running.adminUrl, pid: process.pid }, 'listening')
  })
}
