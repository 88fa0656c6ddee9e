// Preloaded into a gate (--import): on SIGIO it writes the delay of the event loop since the last time, in ms.
import { writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
process.on('SIGIO', () => {
  const ms = nanoseconds => Math.round(nanoseconds / 1e4) / 100
  writeFileSync(process.env.LOOP_FILE, JSON.stringify({ p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), p999: ms(delay.percentile(99.9)), max: ms(delay.max) }))
  delay.reset()
})
