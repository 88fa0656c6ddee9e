import t from 'tap'
import { createLine } from '../../src/limits/redis.js'
import { SharedStore } from '../../src/limits/shared.js'
import type { Line } from '../../src/limits/shared-call.js'
import { RedisServer } from './redis-server.js'
import { storeContract } from './store-contract.js'
import type { Clock } from './world.js'

const redis = await RedisServer.start()
const lines: Line[] = []
t.teardown(async () => {
  for (const line of lines) await line.close()
  await redis.stop()
})

let made = 0

/** One connection for all stores of a test, each with keys of its own. */
async function connect (url = redis.url): Promise<Line> {
  const line = createLine({ url, commandTimeoutMs: 5000, prefix: '' }, () => {})
  lines.push(line)
  for (let i = 0; i < 100; i++) {
    try { await line.time(); return line } catch { await new Promise(resolve => setTimeout(resolve, 20)) }
  }
  throw new Error('no connection')
}

const line = await connect()

function store (clock: Clock, prefix = `t${made++}:`, gate = 'a'): SharedStore {
  return new SharedStore({
    line: { ...line, run: async (upstream, args) => await line.run(prefix + upstream, args), close: async () => {} },
    gate,
    later: clock.later,
    soon: queueMicrotask,
    clock: () => clock.now,
    timeoutMs: 5000,
    onStoreLoss: 'share',
    longestCallMs: 60_000,
    note: () => {},
    patienceMs: 0,
    virtual: true
  })
}

t.test('the store in Redis keeps the contract', async t => {
  storeContract(t, clock => store(clock))
})
