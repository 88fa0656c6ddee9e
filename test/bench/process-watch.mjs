// Preloaded into a gate (--import, with --expose-gc where memory counts): on SIGIO it writes the delay of the event loop since
// the last time, in ms, and what is alive after a collection, in MB.
import { writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
process.on('SIGIO', () => {
  const ms = nanoseconds => Math.round(nanoseconds / 1e4) / 100
  const found = { p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), p999: ms(delay.percentile(99.9)), max: ms(delay.max) }
  if (globalThis.gc !== undefined) {
    // Twice: what buffers held is given back by the collection after the one that finds them dead.
    globalThis.gc()
    globalThis.gc()
    const { heapUsed, external } = process.memoryUsage()
    found.liveMb = Math.round((heapUsed + external) / 1e5) / 10
  }
  writeFileSync(process.env.WATCH_FILE, JSON.stringify(found))
  delay.reset()
})
