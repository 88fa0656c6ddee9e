import t from 'tap'
import { MemoryStore } from '../../src/limits/memory.js'
import type { Admission, LimitCall, Ticket } from '../../src/limits/store.js'
import { WAITING_MOST, WaitingStore } from '../../src/limits/waiting.js'
import { call, Clock, plan, SILENT, START, ticketOf } from './world.js'

/** A store whose calls may wait, and who has been told what, in order. */
class Line {
  readonly clock = new Clock()
  readonly store = new WaitingStore(new MemoryStore(this.clock.later), this.clock.later)
  readonly said: string[] = []

  ask (name: string, of: LimitCall): void {
    const say = (admission: Admission): void => { this.said.push(`${name} ${admission.kind === 'admitted' ? 'goes' : admission.by} after ${Math.round((this.clock.now - START) / 100) * 100} ms`) }
    const asked = this.store.reserve(of, this.clock.now)
    if (asked instanceof Promise) asked.then(say, t.error)
    else say(asked)
  }

  async go (of: LimitCall): Promise<Ticket> {
    return ticketOf(await this.store.reserve(of, this.clock.now))
  }

  end (ticket: Ticket): void {
    this.store.settle(ticket, SILENT, this.clock.now)
    this.store.release(ticket, this.clock.now)
  }

  /** Time passes in steps, so that promises are kept in between. */
  async pass (ms: number): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    for (const end = this.clock.now + ms; this.clock.now < end;) {
      this.clock.advance(Math.min(10, end - this.clock.now))
      await new Promise(resolve => setImmediate(resolve))
    }
  }

  async waiting (): Promise<number> {
    return (await this.store.snapshot(this.clock.now))[0]!.buckets[0]!.waiting
  }
}

t.test('who may wait goes in order when there is allowance again, those of priority first', async t => {
  const line = new Line()
  const of = plan({ configuredOrg: 8 })
  for (let i = 0; i < 4; i++) { line.end(await line.go(call(of))); await line.pass(500) }
  line.ask('first', call(of, { waitMs: 90_000 }))
  line.ask('second', call(of, { waitMs: 90_000, client: 'b' }))
  line.ask('urgent', call(of, { waitMs: 90_000, client: 'c', level: 0 }))
  line.ask('impatient', call(of, { client: 'd' }))
  t.strictSame(line.said, ['impatient bucket after 2000 ms'], 'without wait it is refused, and does not overtake')
  t.equal(await line.waiting(), 3)
  await line.pass(60_000)
  t.strictSame(line.said.slice(1), ['urgent goes after 60500 ms', 'first goes after 61000 ms', 'second goes after 61500 ms'])
  t.equal(await line.waiting(), 0)
  const { sumMs, ...counts } = line.store.waits
  t.strictSame(counts, { count: 3, admitted: 3, left: 0 })
  t.equal(Math.round(sumMs / 1000), 177)
})

t.test('whose own share is used up holds up nobody else', async t => {
  const line = new Line()
  const of = plan({ configuredOrg: 20 })
  line.end(await line.go(call(of, { client: 'a', share: 0.1 })))
  line.ask('a', call(of, { client: 'a', share: 0.1, waitMs: 90_000 }))
  line.ask('a again', call(of, { client: 'a', share: 0.1, waitMs: 90_000 }))
  line.ask('b', call(of, { client: 'b', waitMs: 90_000 }))
  t.strictSame(line.said, ['b goes after 0 ms'])
  await line.pass(61_000)
  t.strictSame(line.said.slice(1), ['a goes after 60500 ms'], 'one at a time')
})

t.test('the deadline is kept, who hangs up leaves, and so it is while the store takes its time', async t => {
  const line = new Line()
  const of = call(plan({ configuredOrg: 100, concurrency: 2 }), { waitMs: 3000 })
  const other = call(plan({ configuredOrg: 100, concurrency: 2, bucket: 'other' }))
  const busy = await line.go(other)
  const leaving = { aborted: false }
  line.ask('probe', of)
  line.ask('stuck', of)
  line.ask('short', { ...of, waitMs: 1000 })
  line.ask('leaves', { ...of, signal: leaving })
  t.equal((await line.store.snapshot(START)).flatMap(one => one.buckets).reduce((sum, one) => sum + one.waiting, 0), 4)
  await line.pass(300)
  line.end(busy)
  await line.pass(100)
  t.strictSame(line.said, ['probe goes after 300 ms'], 'the next has to await its answer')
  leaving.aborted = true
  await line.pass(250)
  t.strictSame(line.said.slice(1), ['leaves concurrency after 600 ms'], 'within a fifth of a second')
  await line.pass(500)
  t.strictSame(line.said.slice(2), ['short concurrency after 1000 ms'])
  await line.pass(2500)
  t.strictSame(line.said.slice(3), ['stuck concurrency after 3000 ms'])
})

t.test('a wait that is known to be too short is refused at once, and no more wait than there is room for', async t => {
  const line = new Line()
  const of = call(plan({ configuredOrg: 2 }), { waitMs: 60_000 })
  line.end(await line.go(of))
  line.ask('short', of)
  t.strictSame(line.said, ['short bucket after 0 ms'], 'half a second is missing')
  const long = { ...of, waitMs: 61_000 }
  for (let i = 0; i < WAITING_MOST; i++) line.store.reserve(long, START)
  t.equal(await line.waiting(), WAITING_MOST)
  line.ask('one more', long)
  t.strictSame(line.said.slice(1), ['one more bucket after 0 ms'])
  await line.store.close(START)
})
