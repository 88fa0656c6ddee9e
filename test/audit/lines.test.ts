import t from 'tap'
import fc from 'fast-check'
import { createLines, type Bounds, type Target } from '../../src/audit/lines.js'
import { createAuditLog } from '../../src/audit/log.js'
import { createOcsfLines } from '../../src/audit/ocsf.js'
import { createPlainLines } from '../../src/audit/plain.js'
import { someEvent } from './events.js'

t.test('a line is AuditEvent under its own names, with the format named first', async t => {
  const line = createPlainLines()(someEvent({ client: 'portal', status: 200, queryNames: ['limit', 'after'], decision: 'allow', reason: undefined }))
  t.match(line, /^\{"event":"narrowgate\.request","version":1,"time":"2026-11-22T12:30:15\.007Z","id":"e1",/)
  t.match(line, /\}\n$/)
  t.same(JSON.parse(line), {
    event: 'narrowgate.request',
    version: 1,
    time: '2026-11-22T12:30:15.007Z',
    id: 'e1',
    outcome: 'allowed',
    stage: 'observe',
    method: 'GET',
    path: '/api/v1/users',
    source: '192.0.2.1',
    bytesIn: 0,
    bytesOut: 12,
    durationMs: 3.25,
    client: 'portal',
    status: 200,
    queryNames: ['limit', 'after'],
    decision: 'allow'
  })
})

t.test('whatever a client sends, an event is one line of JSON that says the same', async t => {
  const plain = createPlainLines()
  t.doesNotThrow(() => fc.assert(fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }), (path, detail) => {
    const line = plain(someEvent({ path, detail }))
    const read = JSON.parse(line)
    return line.indexOf('\n') === line.length - 1 && read.path === path && read.detail === detail
  })))
})

t.test('names that clients chose neither drive a terminal nor turn or hide the text around them', async t => {
  const names = ['\x7f', '\x9b31m', '\x85', '\u202egnp', '\u2066x\u2069', '\u200b', '\ufeff', '\u00ad', '\u2028', '\u{e0041}', 'Zo\u00eb \u65e5\u672c \u{1f600}']
  for (const lines of [createPlainLines(), createOcsfLines({ version: '1', gate: 'g' })]) {
    const line = lines(someEvent({ queryNames: names, detail: names.join('') }))
    t.notMatch(line.trimEnd(), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u, 'nothing that is not to be seen')
    t.match(line, /Zo\u00eb \u65e5\u672c \u{1f600}/u, 'what is to be read stays as it is')
    t.ok(JSON.stringify(JSON.parse(line)).includes(JSON.stringify(names.join(''))), 'the same text')
  }
})

/** A target that obeys a script, under a clock and an event loop of the test's own. */
function stage (bounds?: Bounds) {
  let now = 1000
  let turn: (() => void)[] = []
  let timers: { at: number, run: () => void }[] = []
  const state = { text: '', calls: 0, take: Infinity, error: '', moved: false, files: [] as string[], closed: false }
  const target: Target = {
    write (bytes) {
      state.calls++
      if (state.take === 0) throw Object.assign(new Error('refused'), { code: state.error })
      const buffer = Buffer.from(bytes as string)
      const taken = Math.min(state.take, buffer.length)
      state.take -= taken
      state.text += buffer.toString('latin1', 0, taken)
      return taken
    },
    reopen () { state.files.push(state.text); state.text = ''; state.moved = false },
    moved: () => state.moved,
    close () { state.closed = true }
  }
  const sink = createLines('test', target, {
    now: () => now,
    soon (run) { turn.push(run) },
    later (run, ms) {
      const timer = { at: now + ms, run }
      timers.push(timer)
      return { cancel () { timers = timers.filter(other => other !== timer) } }
    }
  }, bounds)
  const endTurn = () => { const runs = turn; turn = []; for (const run of runs) run() }
  const wait = (ms: number) => {
    const until = now + ms
    for (;;) {
      const due = timers.filter(timer => timer.at <= until).sort((a, b) => a.at - b.at)[0]
      if (due === undefined) break
      timers = timers.filter(timer => timer !== due)
      now = due.at
      due.run()
      endTurn()
    }
    now = until
  }
  return { sink, state, endTurn, wait }
}

t.test('the lines of a turn are one write', async t => {
  const { sink, state, endTurn } = stage()
  for (const line of ['a\n', 'b\n', 'c\n']) sink.write(line)
  t.equal(state.calls, 0)
  endTurn()
  t.same([state.calls, state.text], [1, 'a\nb\nc\n'])
  sink.write('d\n')
  endTurn()
  t.same([state.calls, state.text], [2, 'a\nb\nc\nd\n'])
  t.match(sink.status, { healthy: true, written: 4, spooled: 0, dropped: 0 })
})

t.test('an error is tried again each second, not with every line', async t => {
  const { sink, state, endTurn, wait } = stage()
  Object.assign(state, { take: 3, error: 'ENOSPC' })
  sink.write('aa\n')
  sink.write('bb\n')
  endTurn()
  t.match(sink.status, { healthy: false, error: 'ENOSPC', spooled: 2 })
  const calls = state.calls
  for (let i = 0; i < 5; i++) { sink.write('cc\n'); endTurn() }
  wait(900)
  t.equal(state.calls, calls)
  wait(200)
  t.equal(state.calls, calls + 1)
  state.take = Infinity
  wait(1000)
  t.equal(state.text, `aa\nbb\n${'cc\n'.repeat(5)}`)
  t.match(sink.status, { healthy: true, error: undefined, written: 7, spooled: 0 })
})

t.test('a full pipe is healthy while it moves', async t => {
  const { sink, state, endTurn, wait } = stage()
  Object.assign(state, { take: 0, error: 'EAGAIN' })
  for (let i = 0; i < 200; i++) sink.write('abcdefghi\n')
  endTurn()
  for (let i = 0; i < 30; i++) { state.take = 5; wait(100); t.equal(sink.status.healthy, true) }
  wait(1000)
  t.match(sink.status, { healthy: false, error: undefined })
  state.take = Infinity
  wait(20)
  t.equal(state.text, 'abcdefghi\n'.repeat(200))
})

t.test('a full queue drops the newest lines, counts them and says so in the log', async t => {
  for (const bounds of [{ lines: 3, bytes: 1000 }, { lines: 1000, bytes: 6 }]) {
    const { sink, state, endTurn, wait } = stage(bounds)
    Object.assign(state, { take: 0, error: 'ENOSPC' })
    for (const line of ['a\n', 'b\n', 'c\n', 'd\n', 'e\n']) { sink.write(line); endTurn() }
    t.match(sink.status, { healthy: false, spooled: 3, dropped: 2 })
    state.take = Infinity
    wait(1000)
    const written = state.text.split('\n')
    t.same(written.slice(0, 3), ['a', 'b', 'c'])
    t.match(JSON.parse(written[3]!), { event: 'narrowgate.gap', version: 1, dropped: 2, time: '1970-01-01T00:00:02.000Z' })
    t.equal(sink.status.healthy, true)
  }
})

t.test('a new file begins with a whole line', async t => {
  for (const how of ['reopen', 'moved'] as const) {
    const { sink, state, endTurn, wait } = stage()
    Object.assign(state, { take: 5, error: 'ENOSPC' })
    sink.write('aa\n')
    sink.write('bbbb\n')
    endTurn()
    state.take = Infinity
    if (how === 'reopen') sink.reopen()
    else { state.moved = true; wait(1000) }
    t.same([state.files, state.text], [['aa\nbb'], 'bbbb\n'], how)
  }
})

t.test('nothing is accepted after close, and close ends although the target refuses', async t => {
  const { sink, state } = stage()
  sink.write('a\n')
  await sink.close()
  t.match(state, { text: 'a\n', closed: true })
  sink.write('b\n')
  t.match(sink.status, { healthy: false, dropped: 1, written: 1 })
})

t.test('whatever the target takes and refuses, every line arrives once, whole and in order, or is counted', async t => {
  const steps = fc.array(fc.oneof(
    fc.record({ kind: fc.constant('write' as const), size: fc.integer({ min: 1, max: 30 }) }),
    fc.record({ kind: fc.constant('target' as const), take: fc.integer({ min: 0, max: 60 }), error: fc.constantFrom('EAGAIN', 'ENOSPC', 'EPIPE') }),
    fc.record({ kind: fc.constant('turn' as const) }),
    fc.record({ kind: fc.constant('flush' as const) }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 1500 }) })
  ), { maxLength: 60 })
  t.doesNotThrow(() => fc.assert(fc.property(steps, script => {
    const { sink, state, endTurn, wait } = stage({ lines: 12, bytes: 200 })
    let made = 0
    for (const step of script) {
      if (step.kind === 'write') sink.write(`${made++}${'x'.repeat(step.size)}\n`)
      else if (step.kind === 'target') Object.assign(state, { take: step.take, error: step.error })
      else if (step.kind === 'turn') endTurn()
      else if (step.kind === 'flush') sink.flush()
      else if (step.kind === 'wait') wait(step.ms)
    }
    state.take = Infinity
    endTurn()
    wait(2000)
    sink.flush()
    const lines = state.text.split('\n').slice(0, -1)
    const numbers = lines.filter(line => !line.startsWith('{')).map(line => Number.parseInt(line, 10))
    const gaps = lines.filter(line => line.startsWith('{')).reduce((sum, line) => sum + Number(JSON.parse(line).dropped), 0)
    const { dropped, spooled, healthy } = sink.status
    return healthy && spooled === 0 && gaps === dropped && numbers.length + dropped === made &&
      numbers.every((number, i) => i === 0 || number > numbers[i - 1]!) && state.text.endsWith('\n') !== (made === 0)
  }), { numRuns: 300 }))
})

t.test('a log is healthy when all of its sinks are', async t => {
  const [one, two] = [stage(), stage()]
  const log = createAuditLog([one.sink, two.sink])
  Object.assign(two.state, { take: 0, error: 'EIO' })
  log.record(someEvent({}))
  t.equal(log.healthy, true)
  log.flush()
  t.equal(log.healthy, false)
  t.match(log, { made: 1, sinks: [{ name: 'test', healthy: true, written: 1 }, { healthy: false, error: 'EIO', written: 0 }] })
})
