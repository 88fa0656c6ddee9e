import fc from 'fast-check'
import t from 'tap'
import { allowance, clientAllowance, concurrencyAllowance } from '../../src/limits/allowance.js'
import { BucketState, type ClientState } from '../../src/limits/bucket.js'
import { parseObservation } from '../../src/limits/headers.js'
import { MemoryStore } from '../../src/limits/memory.js'
import { SlidingWindow } from '../../src/limits/window.js'
import { storeContract } from './store-contract.js'
import { call, Clock, plan, SILENT, START, ticketOf } from './world.js'

t.test('the store in memory keeps the contract', async t => {
  storeContract(t, clock => new MemoryStore(clock.later))
})

t.test('a ticket of another store is a fault', async t => {
  t.throws(() => new MemoryStore(new Clock().later).settle({ kind: 'admitted' }, undefined, START), /another store/)
})

t.test('a store in memory answers at once', async t => {
  const store = new MemoryStore(new Clock().later)
  const first = store.reserve(call(plan()), START)
  if (first instanceof Promise) return t.fail('a promise')
  store.settle(ticketOf(first), SILENT, START)
  t.notOk(store.reserve(call(plan()), START) instanceof Promise)
})

t.test('clients that come and go do not pile up, without anybody looking', async t => {
  const bucket = new BucketState(plan())
  const made: ClientState[] = []
  for (let i = 0; i < 5000; i++) {
    const now = START + i * 100
    const state = bucket.client(`c${i}`, now)
    state.window.take()
    state.window.settle(now)
    made.push(state)
  }
  // 605 of them hold a slot.
  const kept = made.filter(one => bucket.holds(one)).length
  t.ok(kept >= 605 && kept < 1300, `${kept} are kept`)
})

t.test('X-Rate-Limit headers: strict integers, a Reset within a minute, or nonsense', async t => {
  const reset = String(START / 1000 + 60)
  const rows: [string, [number, string?, string?, string?], object][] = [
    ['as recorded', [200, '300', '299', reset], { kind: 'window', tooMany: false, limit: 300, remaining: 299, resetMs: START + 60_000 }],
    ['an error answer', [404, '300', '0', reset], { kind: 'window', tooMany: false, remaining: 0 }],
    ['429', [429, '300', '0', reset], { kind: 'window', tooMany: true, limit: 300, remaining: 0 }],
    ['429 of concurrency', [429, '0', '0', reset], { kind: 'concurrency', tooMany: true, resetMs: START + 60_000 }],
    ['none', [405], { kind: 'silent', tooMany: false }],
    ['429 with none', [429], { kind: 'silent', tooMany: true }],
    ['the furthest Reset', [200, '9', '9', String(START / 1000 + 61)], { kind: 'window' }],
    ['one second more', [200, '9', '9', String(START / 1000 + 62)], { kind: 'nonsense' }],
    ['Reset is now', [200, '9', '9', String(START / 1000)], { kind: 'nonsense' }],
    ['milliseconds', [200, '9', '9', String(START + 30_000)], { kind: 'nonsense' }],
    ['a part is missing', [200, '9', undefined, reset], { kind: 'nonsense' }],
    ['limit is missing', [429, undefined, '0', reset], { kind: 'nonsense', tooMany: true }],
    ['twice', [200, '9, 9', '8, 8', `${reset}, ${reset}`], { kind: 'nonsense' }],
    ['negative', [200, '9', '-1', reset], { kind: 'nonsense' }],
    ['a fraction', [200, '9.0', '8', reset], { kind: 'nonsense' }],
    ['an exponent', [200, '1e3', '8', reset], { kind: 'nonsense' }],
    ['hexadecimal', [200, '0x9', '8', reset], { kind: 'nonsense' }],
    ['empty', [200, '', '', ''], { kind: 'nonsense' }],
    ['a space', [200, ' 9', '8', reset], { kind: 'nonsense' }],
    ['more remains than there was', [200, '9', '10', reset], { kind: 'nonsense' }],
    ['zero without a 429', [200, '0', '0', reset], { kind: 'nonsense' }],
    ['a limit beyond belief', [200, '9999999999', '1', reset], { kind: 'nonsense' }]
  ]
  for (const [name, [status, limit, remaining, at], expected] of rows) {
    t.match(parseObservation(status, limit, remaining, at, START), expected, name)
  }
  t.match(parseObservation(200, '9', '8', reset, 5000, START), { kind: 'window', resetMs: 65_000 }, 'a monotonic clock of its own')
})

t.test('allowances are whole calls, never above the percentage', async t => {
  t.equal(allowance(plan({ configuredOrg: 100, ceiling: 0.29 }), undefined, Infinity), 29)
  t.equal(allowance(plan({ configuredOrg: 25 }), undefined, Infinity), 12)
  t.equal(allowance(plan({ configuredOrg: 1 }), undefined, Infinity), 0)
  t.equal(allowance(plan({ catalogueOrg: 600 }), 1000, 300), 300)
  t.equal(concurrencyAllowance(plan({ concurrency: 75 })), 37)
  t.equal(concurrencyAllowance(plan({ concurrency: 1 })), 1)
  t.strictSame([[0.5, 11], [0.01, 11], [1, 11], [0, 11], [0.5, 0], [0.29, 100]].map(([share, of]) => clientAllowance(share!, of!)), [5, 1, 11, 0, 0, 29])
})

t.test('the window is a list of expiries, for any sequence of steps', async () => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.constantFrom('take', 'settle', 'back', 'wait', 'many'), fc.nat(40_000)), { maxLength: 300 }), steps => {
    const window = new SlidingWindow()
    let inFlight = 0
    let expiries: number[] = []
    let now = START
    for (const [step, size] of steps) {
      if (step === 'wait') now += size
      if (step === 'take') { window.take(); inFlight++ }
      if (step === 'many') { window.charge(size % 50, now); expiries.push(...Array<number>(size % 50).fill(now + 60_500)) }
      if (step === 'settle' && inFlight > 0) { window.settle(now); inFlight--; expiries.push(now + 60_500) }
      if (step === 'back' && inFlight > 0) { window.giveBack(); inFlight-- }
      expiries = expiries.filter(one => one > now)
      if (window.used(now) !== inFlight + expiries.length || window.inFlight !== inFlight) return false
      const limit = size % 20 + 1
      const needed = Math.max(1, inFlight + expiries.length - limit + 1)
      if (window.freeAt(limit) !== (needed > expiries.length ? undefined : expiries[needed - 1])) return false
    }
    return true
  }), { seed: 20261122, numRuns: 300 })
})
