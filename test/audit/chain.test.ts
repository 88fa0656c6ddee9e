import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { appendFileSync, existsSync, readFileSync, renameSync, rmSync, statSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { compactVerify } from 'jose'
import t from 'tap'
import { createSigner, readStatement, type Statement } from '../../src/audit/chain.js'
import { fileDisk, rotatedFiles } from '../../src/audit/file.js'
import { Journal, type Disk, type JournalOptions } from '../../src/audit/journal.js'
import { createOcsfLines } from '../../src/audit/ocsf.js'
import { openIntents } from '../../src/audit/recovery-file.js'
import { processTiming } from '../../src/audit/timing.js'
import { verify, type Verdict, type VerifyOptions } from '../../src/audit/verify.js'
import { filesOf } from '../support/audit-check.js'
import { until } from '../support/gate.js'
import { someEvent } from './events.js'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const signer = createSigner(privateKey, 'kid-1')
const check = async (jws: string): Promise<boolean> => await compactVerify(jws, createPublicKey(publicKey.export({ type: 'spki', format: 'pem' }))).then(() => true, () => false)
const ocsf = createOcsfLines({ version: '1', gate: 'gate-1' })
const id = (i: number): string => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`
const line = (i: number): string => ocsf(someEvent({ id: id(i), path: `/api/v1/users/é${i}` }))

function journal (path: string, options: JournalOptions & { anchors?: string[] } = {}, disk: Disk = fileDisk(path)): Journal {
  let ids = 0
  return new Journal('test', disk, processTiming, { chain: { signer, gate: 'gate-1', newId: () => `chain-${process.pid}-${ids++}`, onCheckpoint: text => options.anchors?.push(text) }, ...options })
}

async function write (path: string, from: number, to: number, options?: Parameters<typeof journal>[1]): Promise<void> {
  const log = journal(path, options)
  for (let i = from; i < to; i++) log.write(line(i))
  await log.close()
}

const judge = async (paths: string[], options: VerifyOptions = { check }): Promise<Verdict> => await verify(filesOf(...paths), options)

t.test('a file is a chain with signed checkpoints, and goes on where an earlier process ended', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  await write(path, 0, 2500)
  await write(path, 2500, 2600)
  const verdict = await judge([path])
  t.match(verdict, { findings: [], events: 2600, signed: true, kids: ['kid-1'], loose: 0 })
  t.ok(verdict.checkpoints >= 3, `${verdict.checkpoints} checkpoints`)
  t.equal(statSync(path).mode & 0o777, 0o600)
  const { publicKey: stranger } = generateKeyPairSync('ed25519')
  t.match((await judge([path], { check: async jws => await compactVerify(jws, stranger).then(() => true, () => false) })).findings[0], { line: 1, what: 'signature' })
})

t.test('what was removed, changed, inserted, moved or cut off is found, and said', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  await write(path, 0, 50)
  const lines = readFileSync(path, 'utf8').split(/(?<=\n)/)
  const [start = '', ...rest] = lines
  const table: Array<[string, string[], object]> = [
    ['nothing', lines, []],
    ['an event changed', lines.with(10, lines[10]!.replace('"GET"', '"PUT"')), [{ line: 11, what: 'changed', message: /event 11 .*request 00000000-0000-4000-8000-000000000009/ }]],
    ['an event removed', lines.toSpliced(10, 1), [{ line: 11, what: 'removed', message: 'event 11 is missing before this line' }]],
    ['three removed', lines.toSpliced(10, 3), [{ what: 'removed', message: 'events 11 to 13 are missing before this line' }]],
    ['one inserted again', lines.toSpliced(20, 0, lines[10]!), [{ line: 21, what: 'inserted', message: /event 11 is here a second time/ }]],
    ['one made up', lines.toSpliced(20, 0, line(99)), [{ line: 21, what: 'changed' }]],
    ['two changed places', lines.with(10, lines[11]!).with(11, lines[10]!), [{ line: 11, what: 'removed' }, { line: 12, what: 'moved', message: /event 11 stands after event 12/ }]],
    ['the first line removed', rest, [{ line: 1, what: 'removed' }, { line: 1, what: 'removed', message: 'event 1 is missing before this line' }]],
    ['cut within a line', [lines.join('').slice(0, -1)], [{ what: 'truncated' }]],
    ['emptied', [], [{ what: 'truncated', message: 'the file is empty' }]],
    ['the start changed', [start.replace('"time":"2', '"time":"1'), ...rest], [{ line: 1, what: 'changed' }]]
  ]
  for (const [name, text, expected] of table) {
    writeFileSync(path, text.join(''))
    const { findings } = await judge([path])
    t.match(findings, expected, name)
    t.equal(findings.length, (expected as unknown[]).length, `${name}: ${JSON.stringify(findings)}`)
  }
})

t.test('who rewrites the whole chain is stopped by the signatures, who cuts the end by an anchor', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const anchors: string[] = []
  await write(path, 0, 2500, { anchors })
  const forged = join(t.testdirName, 'forged.jsonl')
  const { privateKey: other } = generateKeyPairSync('ed25519')
  const forger = new Journal('forger', fileDisk(forged), processTiming, { chain: { signer: createSigner(other, 'kid-1'), gate: 'gate-1', newId: () => 'x' } })
  for (let i = 0; i < 100; i++) forger.write(line(i))
  await forger.close()
  const { findings, signed } = await judge([forged])
  t.equal(signed, false)
  t.ok(findings.length > 0 && findings.every(({ what }) => what === 'signature'))
  const unsigned = join(t.testdirName, 'unsigned.jsonl')
  const bare = new Journal('bare', fileDisk(unsigned), processTiming, { chain: { gate: 'gate-1', newId: () => 'y' } })
  bare.write(line(1))
  await bare.close()
  t.match((await judge([unsigned])).findings[0], { what: 'signature', message: /not signed/ })
  t.same((await judge([unsigned], {})).findings, [], 'without a key the chain alone')

  const statements = anchors.map(text => readStatement(text) as { statement: Statement, jws: string })
  const last = statements.at(-1)!
  t.equal(await check(last.jws), true)
  t.same((await judge([path], { check, anchors: statements })).findings, [])
  const text = readFileSync(path, 'utf8')
  truncateSync(path, Buffer.byteLength(text.split(/(?<=\n)/).slice(0, -2).join('')))
  t.same((await judge([path])).findings, [], 'a clean cut shows nothing by itself')
  t.match((await judge([path], { check, anchors: [last] })).findings, [{ what: 'truncated', message: /ends at event/ }])
})

t.test('a thousand random edits, and each is found', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const anchors: string[] = []
  await write(path, 0, 80, { anchors })
  const whole = readFileSync(path)
  const anchor = readStatement(anchors.at(-1)!)!
  let seed = 12345
  const random = (below: number): number => { seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff; return seed % below }
  const kinds: Array<(bytes: Buffer) => Buffer> = [
    bytes => { const copy = Buffer.from(bytes); const at = random(copy.length); copy[at] = copy[at]! ^ (1 << random(8)); return copy },
    bytes => { const at = random(bytes.length); return Buffer.concat([bytes.subarray(0, at), Buffer.from([random(256)]), bytes.subarray(at)]) },
    bytes => { const at = random(bytes.length - 1); return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(200))]) },
    bytes => bytes.subarray(0, random(bytes.length)),
    bytes => { const lines = bytes.toString('latin1').split(/(?<=\n)/); lines.splice(random(lines.length), 1 + random(5)); return Buffer.from(lines.join(''), 'latin1') },
    bytes => { const lines = bytes.toString('latin1').split(/(?<=\n)/); const [from, to] = [random(lines.length), random(lines.length - 1)]; lines.splice(to, 0, ...lines.splice(from, 1)); return Buffer.from(lines.join(''), 'latin1') },
    bytes => { const lines = bytes.toString('latin1').split(/(?<=\n)/); lines.splice(random(lines.length), 0, lines[random(lines.length)]!); return Buffer.from(lines.join(''), 'latin1') }
  ]
  let edits = 0
  const missed: string[] = []
  async function * lines (bytes: Buffer): AsyncGenerator<string> { for (const text of bytes.toString('latin1').split(/(?<=\n)/)) if (text !== '') yield text }
  async function * file (bytes: Buffer): AsyncGenerator<{ name: string, lines: AsyncIterable<string> }> { yield { name: 'edited', lines: lines(bytes) } }
  while (edits < 1000) {
    const edited = kinds[edits % kinds.length]!(whole)
    if (edited.equals(whole)) continue
    edits++
    const { findings } = await verify(file(edited), { anchors: [anchor] })
    if (findings.length === 0) missed.push(`${edits % kinds.length}: ${edited.length} of ${whole.length} bytes`)
  }
  t.same(missed, [])
})

t.test('rotation by size links files; a missing one is named', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  await write(path, 0, 400, { maxBytes: 65_536 })
  await write(path, 400, 401)
  const log = journal(path, { maxBytes: 65_536 })
  for (let i = 401; i < 700; i++) { log.write(line(i)); if (i % 20 === 0) await nextTurn() }
  await log.close()
  const files = [...rotatedFiles(path), path]
  t.ok(files.length >= 4, `${files.length} files`)
  t.match(await judge(files), { findings: [], events: 700 })
  t.equal((await judge(files)).from, 1)
  const later = await judge(files.slice(1))
  t.match(later.findings, [], 'the later files alone')
  t.ok(later.from > 100, `they begin at event ${later.from}, which is said`)
  t.match((await judge(files.toSpliced(1, 1))).findings, [{ what: 'link', message: /one between them is missing/ }, { what: 'removed' }])
  t.ok((await judge([...files].reverse())).findings.length > 0)
  const kept = join(t.testdir({ kept: {} }), 'kept', 'audit.jsonl')
  const few = journal(kept, { maxBytes: 65_536 }, fileDisk(kept, 2))
  for (let i = 0; i < 700; i++) { few.write(line(i)); if (i % 20 === 0) await nextTurn() }
  await few.close()
  t.equal(rotatedFiles(kept).length, 2)
})

t.test('logrotate, a torn end and a foreign file: the chain goes on, or a new one begins beside what is there', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const log = journal(path)
  log.write(line(1))
  log.flush()
  renameSync(path, `${path}.moved`)
  log.reopen()
  log.write(line(2))
  await log.close()
  t.match(await judge([`${path}.moved`, path]), { findings: [], events: 2 })

  appendFileSync(path, '{"category_uid":6,"cut')
  await write(path, 3, 4)
  const torn = await judge([`${path}.moved`, path])
  t.match(torn, { findings: [], events: 4 }, 'the torn line is gone, and its loss is a line of the chain')
  t.match(readFileSync(path, 'utf8'), /"event":"narrowgate.torn","version":1,"bytes":22/)

  writeFileSync(path, '{"event":"narrowgate.request","old":"format"}\n')
  await write(path, 5, 6)
  t.equal(rotatedFiles(path).length, 1)
  t.match(readFileSync(rotatedFiles(path)[0]!, 'utf8'), /old/)
  t.match(await judge([path]), { findings: [], events: 1 })
})

/** A disk that obeys a script. */
function scripted (path: string): { disk: Disk, state: { room: number, hang: boolean, syncs: number, fail: string | undefined, held: Array<(code?: string) => void> } } {
  const real = fileDisk(path)
  const state: ReturnType<typeof scripted>['state'] = { room: Infinity, hang: false, syncs: 0, fail: undefined, held: [] }
  return {
    state,
    disk: {
      ...real,
      write (text) {
        const bytes = Buffer.from(text)
        if (state.room <= 0) throw Object.assign(new Error('full'), { code: 'ENOSPC' })
        const part = bytes.subarray(0, state.room)
        state.room -= part.length
        appendFileSync(path, part)
        return part.length
      },
      sync (done) {
        state.syncs++
        if (state.hang) state.held.push(done)
        else real.sync(() => { done(state.fail) })
      }
    }
  }
}

t.test('a line that did not fit is not in the file, and comes whole when there is room', async t => {
  for (const room of [0, 1, 500, 1500, 2500, 3333]) {
    const path = join(t.testdir(), `audit-${room}.jsonl`)
    const { disk, state } = scripted(path)
    const log = journal(path, {}, disk)
    log.write(line(0))
    log.flush()
    state.room = room
    for (let i = 1; i < 5; i++) log.write(line(i))
    log.flush()
    t.match(log.status, { healthy: false, error: 'ENOSPC' }, `${room}`)
    t.match(readFileSync(path, 'utf8'), /\}\n$/, 'only whole lines')
    t.equal(await log.writeDurable(line(5)), false, 'no promise is made meanwhile')
    state.room = Infinity
    log.flush()
    t.match(log.status, { healthy: true, spooled: 0, dropped: 0, written: 6 })
    await log.close()
    t.match(await judge([path]), { findings: [], events: 6 })
  }
})

t.test('durable: one flush for all who wait, none answered before it', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const { disk, state } = scripted(path)
  const log = journal(path, {}, disk)
  state.hang = true
  const answers: boolean[] = []
  const ask = (i: number): void => { log.writeDurable(line(i)).then(durable => { answers.push(durable) }).catch(() => {}) }
  for (let i = 0; i < 50; i++) ask(i)
  await nextTurn()
  await nextTurn()
  for (let i = 50; i < 80; i++) ask(i)
  await nextTurn()
  await nextTurn()
  t.same([answers.length, state.syncs], [0, 1])
  state.held.shift()!()
  await nextTurn()
  t.same(answers.length, 50, 'those who came later wait for the next')
  t.ok(await until(() => state.held.length === 1), 'which begins a little later')
  t.same([answers.length, state.syncs], [50, 2])
  state.held.shift()!()
  await nextTurn()
  t.same(answers, Array.from({ length: 80 }, () => true))
  state.hang = false
  state.fail = 'EIO'
  t.equal(await log.writeDurable(line(99)), false, 'a flush that failed')
  t.match(log.status, { healthy: false, error: 'EIO' })
  state.fail = undefined
  log.flush()
  t.equal(await log.writeDurable(line(100)), true)
  await log.close()
})

t.test('a file that is renamed while a flush waits for its time is flushed before it is left', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const real = fileDisk(path)
  const calls: string[] = []
  const log = journal(path, {}, { ...real, open: () => { calls.push('open'); return real.open() }, write: bytes => { calls.push('write'); return real.write(bytes) }, sync: done => { calls.push('sync'); setImmediate(done) } })
  t.ok(await log.writeDurable(line(1)))
  const second = log.writeDurable(line(2))
  await nextTurn()
  renameSync(path, `${path}.1`)
  log.reopen()
  t.ok(await second)
  t.strictSame(calls.slice(calls.indexOf('sync') + 1), ['write', 'sync'], 'no other file between a line and its flush')
  log.reopen()
  t.ok(await log.writeDurable(line(3)))
  await log.close()
  t.match(await judge([`${path}.1`, path]), { findings: [], events: 3 })
})

t.test('a file that is removed while writes go on: what was in it is not called durable, and a new one begins at once', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const log = journal(path, {}, { ...fileDisk(path), moved: () => false })
  t.equal(await log.writeDurable(line(1)), true)
  unlinkSync(path)
  t.equal(await log.writeDurable(line(2)), false)
  t.equal(await log.writeDurable(line(3)), true)
  t.equal(log.status.healthy, true)
  await log.close()
  t.match(await judge([path]), { findings: [], events: 1 })
})

t.test('under writes that never end a file is put aside, or followed, all the same', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const { disk, state } = scripted(path)
  const log = journal(path, { maxBytes: 65_536 }, disk)
  state.hang = true
  const answers: boolean[] = []
  const busy = async (from: number, to: number): Promise<void> => {
    for (let i = from; i < to; i++) {
      log.writeDurable(line(i)).then(durable => { answers.push(durable) }).catch(() => {})
      await nextTurn()
      // The next is there before the flush of this one is over.
      if (i % 2 === 0) continue
      t.ok(await until(() => state.held.length === 1))
      state.held.shift()!()
    }
  }
  await busy(0, 100)
  t.ok(rotatedFiles(path).length >= 1, 'put aside')
  renameSync(path, `${path}.1`)
  await new Promise(resolve => setTimeout(resolve, 1100))
  await busy(100, 110)
  t.ok(existsSync(path), 'followed')
  state.hang = false
  while (state.held.length > 0) { state.held.shift()!(); await nextTurn() }
  await log.close()
  t.same(answers, Array.from({ length: 110 }, () => true))
  t.match(await judge([...rotatedFiles(path), `${path}.1`, path]), { findings: [], events: 110 })
})

t.test('open intents are found again, also in the file that follows', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const intent = (i: number): string => ocsf(someEvent({ id: id(i), method: 'POST', operation: 'createUser', client: 'portal', phase: 'intent', outcome: 'pending' }))
  const log = journal(path, { maxBytes: 65_536, carry: () => [intent(2), intent(3)] })
  for (let i = 0; i < 4; i++) log.write(intent(i))
  log.write(line(0))
  log.write(line(1))
  log.flush()
  t.same([...(await openIntents([path])).keys()], [id(2), id(3)])
  for (let i = 10; i < 100; i++) { log.write(line(i)); if (i % 10 === 0) log.flush() }
  log.write(line(3))
  await log.close()
  t.ok(existsSync(rotatedFiles(path)[0]!))
  const found = await openIntents([path])
  t.match([...found.values()], [{ id: id(2), client: 'portal', operation: 'createUser', phase: 'intent' }])
  t.match(await judge([...rotatedFiles(path), path]), { findings: [] })
  // Killed between putting a file aside and copying what is open: the new file is not there, or holds a part of it.
  const last = rotatedFiles(path).at(-1)!
  writeFileSync(path, readFileSync(path, 'utf8').split('\n').slice(0, 1).join('\n') + '\n')
  t.same([...(await openIntents([last, path])).keys()], [id(2), id(3)])
  rmSync(path)
  t.same([...(await openIntents([last, path])).keys()], [id(2), id(3)])
})
