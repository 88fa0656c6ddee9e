import { createReadStream, existsSync, readdirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { rotatedFiles } from '../audit/file.js'
import { parseEvent } from '../audit/parse.js'
import { workerPath, workersAmong } from '../config/worker-paths.js'
import type { AuditEvent } from '../domain/event.js'
import type { Shell } from './shell.js'
import { count } from './style.js'
import { UsageFault } from './usage.js'

/** Lines of the log's own, which are no events: the chain's statements, gaps, torn ends. */
const OWN_LINE = /^\{"event":"narrowgate\.(?:chain|checkpoint|gap|torn)"/

/** How many events there were, and lines that are none. */
interface Found { events: number, others: number }

/**
 * The events of audit logs, in the order of the files: JSON lines in any of the gate's formats, gzipped or not, `-` for
 * standard input. Lines that are no events of the gate are counted, and said on stderr at the end.
 *
 * @param options `phases`: also what came before a request's end, intents among it; `mayBeEmpty`: other logs are read, too;
 *   `found`: is added to
 *
 * @throws UsageFault when a file can't be read, or none of them holds an event
 */
export async function * auditEvents (shell: Shell, files: readonly string[], options: { readonly phases?: boolean, readonly mayBeEmpty?: boolean, readonly found?: Found } = {}): AsyncGenerator<AuditEvent> {
  let events = 0
  let others = 0
  for (const file of files) {
    try {
      for await (const line of createInterface({ input: await openLog(shell, file), crlfDelay: Infinity })) {
        const event = parseEvent(line)
        if (event === undefined) { if (line.trim() !== '' && !OWN_LINE.test(line)) others++; continue }
        events++
        if (options.phases === true || event.phase === undefined) yield event
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === undefined) throw error
      throw new UsageFault(`${file} cannot be read (${code})`)
    }
  }
  if (options.found !== undefined) { options.found.events += events; options.found.others += others }
  if (others > 0) shell.terminal.err(`narrowgate: ${count(others, 'line')} of ${files.join(', ')} ${others === 1 ? 'is no event' : 'are no events'} of the gate\n`)
  if (events === 0 && options.mayBeEmpty !== true) throw new UsageFault(`${files.join(', ')} ${files.length === 1 ? 'holds' : 'hold'} no event of the gate's audit log`)
}

/** A log as a stream, unzipped. @throws the system's error when it can't be opened */
export async function openLog (shell: Shell, file: string): Promise<Readable> {
  if (file === '-') return Readable.from([await shell.readInput()])
  const zipped = await isGzip(file)
  const stream = createReadStream(file)
  if (!zipped) return stream
  const unzipped = createGunzip()
  stream.on('error', error => unzipped.destroy(error))
  return stream.pipe(unzipped)
}

async function isGzip (file: string): Promise<boolean> {
  const handle = await open(file)
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(2), 0, 2, 0)
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b
  } finally {
    await handle.close()
  }
}

/** Each log with the files that the gate put aside from it, oldest first, gzipped ones included; what is named is there once. */
export function withRotated (files: readonly string[]): string[] {
  return chainsOf(files).flat()
}

/**
 * The logs that are meant, each process's by itself: what is named, and where a gate of several processes has written
 * `audit.1.jsonl` and so on in the place of an `audit.jsonl`, all of these. Each is in the order of its chain.
 */
export function chainsOf (files: readonly string[]): string[][] {
  const whole = (file: string): string[] => file === '-' ? [file] : [...rotatedFiles(file), file]
  const workers = files.flatMap(workerFiles)
  const named = files.filter(file => file === '-' || existsSync(file) || workerFiles(file).length === 0)
  return [[...new Set(named.flatMap(whole))], ...workers.filter(file => !named.includes(file)).map(whole)].filter(chain => chain.length > 0)
}

/** The files of the worker processes whose log is named so. */
export function workerFiles (file: string): string[] {
  if (file === '-') return []
  try {
    return workersAmong(file, readdirSync(dirname(file))).map(worker => workerPath(file, worker))
  } catch {
    return []
  }
}

/**
 * The events of logs with all that belongs to them, in the order of time as far as each log's are: several gates', and
 * files that something else has put aside under names of its own, are merged. A log in which nothing stands but the gate's own lines is one without events.
 */
export async function * allEvents (shell: Shell, files: readonly string[], options: { readonly phases?: boolean } = {}): AsyncGenerator<AuditEvent> {
  const found: Found = { events: 0, others: 0 }
  const streams = await Promise.all(logsOf(files).map(async log => {
    const events = auditEvents(shell, log, { ...options, mayBeEmpty: true, found })
    return { events, next: await events.next() }
  }))
  for (;;) {
    let first: typeof streams[number] | undefined
    for (const stream of streams) {
      if (stream.next.done === true) continue
      if (first === undefined || stream.next.value.time < (first.next.value as AuditEvent).time) first = stream
    }
    if (first === undefined) break
    yield first.next.value as AuditEvent
    first.next = await first.events.next()
  }
  if (found.events === 0 && found.others > 0) throw new UsageFault(`${files.join(', ')} ${files.length === 1 ? 'holds' : 'hold'} no event of the gate's audit log`)
}

/** Each log that is named with the files that the gate put aside from it; no file twice. */
function logsOf (files: readonly string[]): string[][] {
  const taken = new Set<string>()
  return files.flatMap(file => chainsOf([file])).map(log => log.filter(file => !taken.has(file) && taken.add(file))).filter(log => log.length > 0)
}
