import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseEvent } from '../audit/parse.js'
import { workerFiles } from './audit-events.js'
import { chooser, eventText, type EventChoice } from './audit-query.js'
import { EXIT } from './exit.js'
import type { Shell } from './shell.js'
import { painter } from './style.js'
import { UsageFault } from './usage.js'

export interface TailOptions extends EventChoice { readonly lines: string }

const POLL_MS = 250
const BLOCK = 65_536
/** What the last lines are looked for in. */
const LOOK_BACK = 1024 * 1024

/** `narrowgate audit tail FILE`: until SIGINT. Goes on in the file that follows when the log is rotated. */
export async function tail (shell: Shell, file: string, options: TailOptions): Promise<number> {
  if (!/^[0-9]{1,5}$/.test(options.lines)) throw new UsageFault(`--lines: ${JSON.stringify(options.lines)} is not a number of lines`)
  const wanted = chooser(options)
  const paint = painter(shell.terminal.color)
  const show = (line: string): void => {
    const event = parseEvent(line)
    if (event !== undefined && wanted(event)) shell.terminal.out(`${eventText(event, paint)}\n`)
  }
  const stop = shell.stopSignal()
  const workers = workerFiles(file)
  const readers = (workers.length > 0 ? workers : [file]).map(path => ({ path, reader: open(path) }))
  const last = readers.flatMap(({ reader }) => reader.last(Number(options.lines)))
  for (const line of workers.length > 1 ? inTime(last).slice(-Number(options.lines)) : last) show(line)
  while (!stop.aborted) {
    let renewed = false
    for (const one of readers) {
      for (const line of one.reader.more()) show(line)
      if (!one.reader.isOld()) continue
      for (const line of one.reader.more()) show(line)
      one.reader.close()
      one.reader = open(one.path)
      renewed = true
    }
    if (!renewed) await sleep(POLL_MS, undefined, { signal: stop }).catch(() => {})
  }
  for (const { reader } of readers) reader.close()
  return EXIT.fine
}

/** Lines of several processes' logs. */
function inTime (lines: readonly string[]): string[] {
  return lines.map(line => ({ line, time: parseEvent(line)?.time ?? 0 })).sort((a, b) => a.time - b.time).map(({ line }) => line)
}

function open (file: string): { last: (count: number) => string[], more: () => string[], isOld: () => boolean, close: () => void } {
  let fd: number
  try {
    fd = openSync(file, 'r')
  } catch (error) {
    throw new UsageFault(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  let position = 0
  let rest: Buffer = Buffer.alloc(0)
  const more = (): string[] => {
    const lines: string[] = []
    const block = Buffer.alloc(BLOCK)
    for (let size = readSync(fd, block, 0, BLOCK, position); size > 0; size = readSync(fd, block, 0, BLOCK, position)) {
      position += size
      rest = Buffer.concat([rest, block.subarray(0, size)])
      for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
        lines.push(rest.toString('utf8', 0, end))
        rest = rest.subarray(end + 1)
      }
    }
    return lines
  }
  return {
    more,
    last (count) {
      position = Math.max(0, fstatSync(fd).size - LOOK_BACK)
      const lines = more()
      return count === 0 ? [] : lines.slice(-count)
    },
    isOld () {
      const now = statSync(file, { throwIfNoEntry: false })
      return now !== undefined && (now.ino !== fstatSync(fd).ino || now.size < position)
    },
    close: () => { closeSync(fd) }
  }
}
