import { readFileSync } from 'node:fs'
import type { Logger } from 'pino'

/**
 * As many client connections as the process's file descriptors allow: half of those stay for Okta, files and the
 * audit log, so that a crowd of clients can't take them all (EMFILE).
 */
export function affordable (connections: number, log: Logger): number {
  const descriptors = softLimit()
  const most = descriptors === undefined ? connections : Math.max(1, Math.floor(descriptors / 2))
  if (most >= connections) return connections
  log.warn({ descriptors, connections: most }, 'listen.maxConnections is more than half of the file descriptors that this process may have: fewer connections are taken; raise its limit (ulimit -n, LimitNOFILE)')
  return most
}

/** Linux tells; node has raised the soft limit to the hard one by now. Undefined elsewhere, or when there is no limit. */
function softLimit (): number | undefined {
  try {
    const soft = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return soft === undefined ? undefined : Number(soft)
  } catch {
    return undefined
  }
}
