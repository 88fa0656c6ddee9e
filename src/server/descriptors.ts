import { readdirSync, readFileSync } from 'node:fs'
import type { Logger } from 'pino'

/** Descriptors beside connections: policies and secrets while they are read again, audit files, the admin listener. */
const SPARE = 8

/**
 * As many client connections as the process's file descriptors allow: each may need one more towards Okta, and what the
 * process itself has open and opens now and then stays free, so that a crowd of clients can't take it all (EMFILE).
 */
export function affordable (connections: number, log: Logger): number {
  const descriptors = softLimit()
  const most = descriptors === undefined ? connections : Math.max(1, Math.floor((descriptors - inUse() - SPARE) / 2))
  if (most >= connections) return connections
  log.warn({ descriptors, connections: most }, 'listen.maxConnections is more than this process has file descriptors for, of which each client may need two: fewer connections are taken; raise its limit (ulimit -n, LimitNOFILE)')
  return most
}

function inUse (): number {
  try { return readdirSync('/proc/self/fd').length } catch { return 0 }
}

/** Linux tells; node has raised the soft limit to the hard one by now. Undefined elsewhere, or when there is no limit. */
export function softLimit (): number | undefined {
  try {
    const soft = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return soft === undefined ? undefined : Number(soft)
  } catch {
    return undefined
  }
}
