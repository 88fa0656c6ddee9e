import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { rotatedFiles } from '../audit/file.js'
import { parseEvent } from '../audit/parse.js'
import type { AuditEvent } from '../domain/event.js'
import type { Shell } from './shell.js'
import { count } from './style.js'
import { UsageFault } from './usage.js'

/** Lines of the log's own, which are no events: the chain's statements, gaps, torn ends. */
const OWN_LINE = /^\{"event":"narrowgate\.(?:chain|checkpoint|gap|torn)"/

/**
 * The events of audit logs, in the order of the files: JSON lines in any of the gate's formats, gzipped or not, `-` for
 * standard input. Lines that are no events of the gate are counted, and said on stderr at the end.
 *
 * @param options `phases`: also what came before a request's end, intents among it
 *
 * @throws UsageFault when a file can't be read, or none of them holds an event
 */
export async function * auditEvents (shell: Shell, files: readonly string[], options: { readonly phases?: boolean } = {}): AsyncGenerator<AuditEvent> {
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
  if (others > 0) shell.terminal.err(`narrowgate: ${count(others, 'line')} of ${files.join(', ')} ${others === 1 ? 'is no event' : 'are no events'} of the gate\n`)
  if (events === 0) throw new UsageFault(`${files.join(', ')} ${files.length === 1 ? 'holds' : 'hold'} no event of the gate's audit log`)
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
  return [...new Set(files.flatMap(file => file === '-' ? [file] : [...rotatedFiles(file), file]))]
}
