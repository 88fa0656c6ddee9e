import t from 'tap'
import { spawn, execFileSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { constants, existsSync, openSync, closeSync, readFileSync, readSync, renameSync, rmSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep, setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { fileSink } from '../../src/audit/file.js'
import { createAuditLog } from '../../src/audit/log.js'
import { someEvent as event } from './events.js'

const lines = (path: string) => readFileSync(path, 'utf8').split('\n').slice(0, -1)
const ids = (path: string) => lines(path).map(line => JSON.parse(line).id)

t.test('a file gets one line per event when the turn ends, and only its owner may read it', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const log = createAuditLog([fileSink(path)])
  for (let i = 0; i < 50; i++) log.record(event({ id: `e${i}` }))
  t.notOk(existsSync(path), 'nothing is written while the turn runs')
  await nextTurn()
  t.same(ids(path), Array.from({ length: 50 }, (_, i) => `e${i}`))
  t.equal(statSync(path).mode & 0o777, 0o600)
  log.record(event({ id: 'last' }))
  log.flush()
  t.equal(ids(path).at(-1), 'last', 'flush does not wait for the turn')
  log.record(event({ id: 'closing' }))
  await log.close()
  t.equal(ids(path).at(-1), 'closing', 'close writes what is waiting')
  t.match(log, { made: 52, sinks: [{ name: `file ${path}`, written: 52, spooled: 0, dropped: 0 }] })
})

t.test('an unfinished line of an earlier process is ended, not continued', async t => {
  const path = join(t.testdir({ 'audit.jsonl': '{"id":"old"}\n{"id":"to' }), 'audit.jsonl')
  const log = createAuditLog([fileSink(path)])
  log.record(event({ id: 'new' }))
  await log.close()
  t.same(lines(path).slice(0, 2), ['{"id":"old"}', '{"id":"to'])
  t.equal(JSON.parse(lines(path)[2]!).id, 'new')
})

t.test('a rotated file is followed, by signal or by itself, and no line is lost', async t => {
  const folder = t.testdir()
  const path = join(folder, 'audit.jsonl')
  const log = createAuditLog([fileSink(path)])
  t.teardown(() => log.close())
  log.record(event({ id: 'a' }))
  await nextTurn()
  renameSync(path, `${path}.1`)
  log.reopen()
  log.record(event({ id: 'b' }))
  await nextTurn()
  t.same([ids(`${path}.1`), ids(path)], [['a'], ['b']], 'reopen')
  renameSync(path, `${path}.2`)
  await sleep(1100)
  log.record(event({ id: 'c' }))
  await nextTurn()
  t.same([ids(`${path}.2`), ids(path)], [['b'], ['c']], 'renamed without a signal')
  rmSync(path)
  await sleep(1100)
  log.record(event({ id: 'd' }))
  await nextTurn()
  t.same(ids(path), ['d'], 'removed')
})

t.test('a full disk or a missing folder: not healthy, nothing lost, recovers by itself', async t => {
  const full = createAuditLog([fileSink('/dev/full')])
  full.record(event({}))
  await nextTurn()
  t.equal(full.healthy, false)
  t.match(full.sinks[0], { error: 'ENOSPC', spooled: 1, written: 0, dropped: 0 })
  const started = Date.now()
  await full.close(100)
  t.ok(Date.now() - started < 1000, 'closing does not wait for ever')

  const folder = join(t.testdir(), 'later')
  const path = join(folder, 'audit.jsonl')
  const other = join(t.testdirName, 'other.jsonl')
  const log = createAuditLog([fileSink(path), fileSink(other)])
  t.teardown(() => log.close())
  log.record(event({ id: 'a' }))
  await nextTurn()
  t.equal(log.healthy, false)
  t.same(ids(other), ['a'], 'the other sink is not held up')
  log.record(event({ id: 'b' }))
  mkdirSync(folder)
  for (let i = 0; i < 40 && !log.healthy; i++) await sleep(100)
  t.equal(log.healthy, true)
  t.same(ids(path), ['a', 'b'])
  t.match(log.sinks[0], { written: 2, spooled: 0, dropped: 0, error: undefined })
})

t.test('a pipe that is full waits without blocking, and is written whole, in order, when it is read', async t => {
  const path = join(t.testdir(), 'pipe')
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const log = createAuditLog([fileSink(path)])
  for (let i = 0; i < 2000; i++) log.record(event({ id: `e${i}`, path: `/${'x'.repeat(200)}` }))
  await nextTurn()
  t.equal(log.healthy, true, 'full for a moment is no failure')
  t.ok(log.sinks[0]!.spooled > 0)
  await sleep(1100)
  t.equal(log.healthy, false, 'full for a second is one')
  let text = ''
  const buffer = Buffer.alloc(65536)
  for (let i = 0; i < 400 && log.sinks[0]!.written < 2000; i++) {
    try {
      const size = readSync(reader, buffer)
      text += buffer.toString('latin1', 0, size)
    } catch { await sleep(5) }
  }
  for (let size = 1; size > 0;) {
    try { size = readSync(reader, buffer); text += buffer.toString('latin1', 0, size) } catch { size = 0 }
  }
  t.equal(log.healthy, true)
  t.same(text.split('\n').slice(0, -1).map(line => JSON.parse(line).id), Array.from({ length: 2000 }, (_, i) => `e${i}`))
  closeSync(reader)
  log.record(event({}))
  await nextTurn()
  t.match(log.sinks[0], { healthy: false, error: 'EPIPE' }, 'a reader that has gone')
  await log.close(50)
})

const child = fileURLToPath(new URL('./stdout-child.ts', import.meta.url))

t.test('standard output: a reader that stops or leaves neither stops nor kills the process', async t => {
  const command = [process.execPath, ...process.execArgv, child]
  const pipeline = (reader: string) => spawn('sh', ['-c', `"$@" | ${reader}`, 'sh', ...command], { stdio: ['ignore', 'ignore', 'pipe'] })
  const socket = () => {
    const gate = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
    gate.stdout!.pause()
    return gate
  }
  const table: [string, () => ChildProcess, object][] = [
    ['a pipe whose reader stands still', () => pipeline('sleep 4'), { healthy: false, turns: true }],
    ['a socket whose reader stands still', socket, { healthy: false, turns: true }],
    ['| head -1', () => pipeline('head -1'), { healthy: false, turns: true, error: 'EPIPE' }]
  ]
  await Promise.all(table.map(async ([name, start, expected]) => {
    const gate = start()
    let report = ''
    gate.stderr!.on('data', chunk => { report += chunk })
    await once(gate.stderr!, 'close')
    t.match(JSON.parse(report.trim().split('\n').at(-1)!), expected, name)
    gate.stdout?.destroy()
  }))
})
