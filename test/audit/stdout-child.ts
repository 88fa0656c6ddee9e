// A process that audits to standard output, run by sinks.test.ts with readers that misbehave.
import { setTimeout as sleep } from 'node:timers/promises'
import { createAuditLog } from '../../src/audit/log.js'
import { stdoutSink } from '../../src/audit/stdout.js'
import { someEvent } from './events.js'

const log = createAuditLog([stdoutSink()])
const begun = Date.now()
let longest = 0
let last = begun
while (Date.now() - begun < 1800) {
  for (let i = 0; i < 20; i++) log.record(someEvent({ id: `e${i}`, path: `/${'x'.repeat(500)}` }))
  await sleep(10)
  longest = Math.max(longest, Date.now() - last)
  last = Date.now()
}
const { healthy, error, spooled } = { ...log.sinks[0]! }
await log.close(100)
process.stderr.write(`${JSON.stringify({ healthy, error, spooled, turns: longest < 500 })}\n`)
