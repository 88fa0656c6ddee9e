import type { Timing } from './lines.js'

/**
 * The process's own time. A turn's lines are written in its check phase (setImmediate), right after the poll
 * phase in which sockets delivered and requests ended: a microtask would write once per socket instead.
 */
export const processTiming: Timing = {
  now: () => Date.now(),
  soon (run) { setImmediate(run) },
  later (run, ms) {
    const timer = setTimeout(run, ms)
    return { cancel () { clearTimeout(timer) } }
  }
}
