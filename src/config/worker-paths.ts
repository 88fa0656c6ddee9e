import { basename, dirname, extname, join } from 'node:path'
import type { AuditConfig } from './config.js'

const PLACEHOLDER = '{worker}'

/** What stands before and after the number in the name of a worker's audit file. */
function around (path: string): readonly [before: string, after: string] {
  const name = basename(path)
  const at = name.indexOf(PLACEHOLDER)
  if (at >= 0) return [name.slice(0, at), name.slice(at + PLACEHOLDER.length)]
  const extension = extname(name)
  return [`${basename(name, extension)}.`, extension]
}

/**
 * The audit file of one worker process: `{worker}` in the file's name is its number; where there is none, the number
 * stands before the extension, as in `audit.1.jsonl`. A gate of one process is worker 1 to a placeholder, and writes to
 * any other path itself.
 */
export function workerPath (path: string, worker: number | undefined): string {
  if (worker === undefined && !basename(path).includes(PLACEHOLDER)) return path
  const [before, after] = around(path)
  return join(dirname(path), `${before}${worker ?? 1}${after}`)
}

/** The numbers of the workers that have such a file, from the names in its folder. */
export function workersAmong (path: string, names: readonly string[]): number[] {
  const [before, after] = around(path)
  return names.flatMap(name => {
    if (!name.startsWith(before) || !name.endsWith(after) || name.length <= before.length + after.length) return []
    const number = name.slice(before.length, name.length - after.length)
    return /^[1-9][0-9]{0,3}$/.test(number) ? [Number(number)] : []
  }).sort((a, b) => a - b)
}

/** Folder of a worker's spools. */
export function workerSpool (spool: string, worker: number | undefined): string {
  return worker === undefined ? spool : join(spool, `worker-${worker}`)
}

/** The audit log of one worker: files and spools of its own, each with its own chain and its own recovery. */
export function auditOfWorker (audit: AuditConfig, worker: number | undefined): AuditConfig {
  return {
    ...audit,
    spool: workerSpool(audit.spool, worker),
    sinks: audit.sinks.map(sink => sink.kind === 'file' ? { ...sink, path: workerPath(sink.path, worker) } : sink)
  }
}
