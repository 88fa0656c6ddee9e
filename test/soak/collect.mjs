// Loaded into the soak's gate (--import, --expose-gc): on SIGWINCH collects all garbage and says on stderr what lives.
import { writeSync } from 'node:fs'

process.on('SIGWINCH', () => {
  // Twice: what the first frees from finalisers and weak references, the second collects.
  globalThis.gc()
  globalThis.gc()
  writeSync(2, `${JSON.stringify({ level: 10, msg: 'lives', ...process.memoryUsage() })}\n`)
})
