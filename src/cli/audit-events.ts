import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import type { AuditEvent } from '../domain/event.js'
import type { Shell } from './shell.js'
import { count } from './style.js'
import { UsageFault } from './usage.js'

const EVENT_NAME = 'narrowgate.request'

/**
 * The events of audit logs, in the order of the files: JSON lines, gzipped or not, `-` for standard input. Lines that
 * are no events of the gate are counted, and said on stderr at the end.
 *
 * @throws UsageFault when a file can't be read, or none of them holds an event
 */
export async function * auditEvents (shell: Shell, files: readonly string[]): AsyncGenerator<AuditEvent> {
  let events = 0
  let others = 0
  for (const file of files) {
    try {
      for await (const line of createInterface({ input: await openLog(shell, file), crlfDelay: Infinity })) {
        const event = eventOf(line)
        if (event !== undefined) { events++; yield event } else if (line.trim() !== '') others++
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === undefined) throw error
      throw new UsageFault(`${file} cannot be read (${code})`)
    }
  }
  if (others > 0) shell.terminal.err(`narrowgate: ${count(others, 'line')} of ${files.join(', ')} ${others === 1 ? 'is no event' : 'are no events'} of the gate\n`)
  if (events === 0) throw new UsageFault(`${files.join(', ')} ${files.length === 1 ? 'holds' : 'hold'} no event of the gate's audit log`)
}

async function openLog (shell: Shell, file: string): Promise<Readable> {
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

/** An event of the plain format (audit/plain.ts), its time as epoch milliseconds. */
function eventOf (line: string): AuditEvent | undefined {
  let value: Record<string, unknown>
  try {
    value = JSON.parse(line) as Record<string, unknown>
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || value['event'] !== EVENT_NAME) return undefined
  const time = Date.parse(String(value['time']))
  if (Number.isNaN(time) || typeof value['method'] !== 'string' || typeof value['bytesIn'] !== 'number') return undefined
  return { ...value as unknown as AuditEvent, time }
}
