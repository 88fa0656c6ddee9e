import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Logger } from 'pino'
import { fileKind, rotatedFiles } from '../audit/file.js'
import type { AuditLog } from '../audit/log.js'
import { openIntents } from '../audit/recovery-file.js'
import type { AuditConfig, SecretReference, SinkConfig } from '../config/config.js'
import { auditOfWorker, workersAmong } from '../config/worker-paths.js'
import type { Secret } from '../domain/secret.js'
import { folderOf, openAudit } from './audit.js'

/** The audit log as this process writes it. A pipe or a device is not numbered: there is only one. */
export function auditFor (audit: AuditConfig, worker: number | undefined): AuditConfig {
  const own = auditOfWorker(audit, worker)
  return { ...own, sinks: own.sinks.map((sink, i) => sink.kind === 'file' && fileKind((audit.sinks[i] as typeof sink).path) === 'special' ? audit.sinks[i]! : sink) }
}

/**
 * What processes have left behind that this start has no place for, because the number of workers has changed: writes
 * without an end are recorded as unknown where they were begun, spools go on to their collectors.
 *
 * @param workers how many there are now
 * @returns logs to close at the end
 */
export async function openLeftBehind (audit: AuditConfig, secrets: ReadonlyMap<SecretReference, Secret>, log: Logger, workers: number): Promise<AuditLog[]> {
  const logs: AuditLog[] = []
  for (const worker of placesOnDisk(audit)) {
    const inUse = workers === 1 ? worker === undefined : worker !== undefined && worker <= workers
    if (inUse || (workers === 1 && worker === 1 && audit.sinks.some(sink => sink.kind === 'file' && sink.path.includes('{worker}')))) continue
    const left = auditFor(audit, worker)
    const sinks = await only(left.sinks, async sink => await holdsSomething(left, sink))
    if (sinks.length > 0) logs.push(await openAudit({ ...left, sinks }, secrets, log))
  }
  return logs
}

/** undefined: a gate of one process. */
function placesOnDisk ({ spool, sinks }: AuditConfig): Set<number | undefined> {
  const found = new Set<number | undefined>([undefined])
  for (const name of namesIn(spool)) {
    const number = /^worker-([1-9][0-9]{0,3})$/.exec(name)?.[1]
    if (number !== undefined) found.add(Number(number))
  }
  for (const sink of sinks) if (sink.kind === 'file') for (const worker of workersAmong(sink.path, namesIn(dirname(sink.path)))) found.add(worker)
  return found
}

async function holdsSomething (audit: AuditConfig, sink: SinkConfig): Promise<boolean> {
  if (sink.kind === 'stdout') return false
  if (sink.kind !== 'file') return existsSync(join(folderOf(audit, sink), 'events.jsonl'))
  return sink.delivery === 'required' && fileKind(sink.path) === 'file' && (await openIntents([...rotatedFiles(sink.path).slice(-1), sink.path])).size > 0
}

function namesIn (folder: string): string[] {
  try { return readdirSync(folder) } catch { return [] }
}

async function only<T> (items: readonly T[], wanted: (item: T) => Promise<boolean>): Promise<T[]> {
  const answers = await Promise.all(items.map(wanted))
  return items.filter((_, i) => answers[i])
}
