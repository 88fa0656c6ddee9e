import { inspect } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { Exchange } from '../../src/domain/exchange.js'
import { Pieces } from '../../src/domain/pieces.js'
import { formatProblem, hasErrors, type Problem } from '../../src/domain/problem.js'
import { isRejection, reject, unreachable } from '../../src/domain/rejection.js'
import { Secret } from '../../src/domain/secret.js'
import { parseTraceparent } from '../../src/domain/trace.js'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'

t.test('a secret shows itself only where it is asked to', async t => {
  const secret = new Secret('CANARY')
  t.equal(secret.reveal(), 'CANARY')
  for (const shown of [String(secret), `${secret}`, JSON.stringify({ secret }), inspect(secret), inspect({ deep: { secret } }, { depth: 9, showHidden: true })]) {
    t.match(shown, /\[secret\]/)
    t.notMatch(shown, /CANARY/)
  }
})

t.test('a traceparent is read as W3C Trace Context says, or not at all', async t => {
  const good = (version: string, flags: string, more = ''): string => `${version}-${TRACE}-${PARENT}-${flags}${more}`
  for (const [text, sampled] of [[good('00', '01'), true], [good('00', '00'), false], [good('00', '03'), true], [good('00', '02'), false], [good('01', '01'), true], [good('fe', 'ff', '-what-ever'), true], [good('cc', '01', '-'), true], [good('01', '01', `-${'x'.repeat(256 - 56)}`), true]] as const) {
    t.same(parseTraceparent(text), { traceId: TRACE, parentId: PARENT, sampled }, text)
  }
  t.same(parseTraceparent(`00-${'0'.repeat(31)}1-${'0'.repeat(15)}1-01`), { traceId: `${'0'.repeat(31)}1`, parentId: `${'0'.repeat(15)}1`, sampled: true }, 'zeros at the front')
  t.same(parseTraceparent(`00-1${'0'.repeat(31)}-1${'0'.repeat(15)}-01`), { traceId: `1${'0'.repeat(31)}`, parentId: `1${'0'.repeat(15)}`, sampled: true }, 'zeros at the end')
  for (const text of [undefined, '', good('ff', '01'), good('00', '01', '-more'), good('00', '01', '-'), good('01', '01', 'more'), ` ${good('00', '01')}`, `${good('00', '01')} `, `${good('00', '01')}, ${good('00', '01')}`, good('00', '01').toUpperCase(), good('0', '01'), good('00', '1'), `00-${'0'.repeat(32)}-${PARENT}-01`, `00-${TRACE}-${'0'.repeat(16)}-01`, `00-${TRACE.slice(1)}-${PARENT}-01`, `00-${TRACE}-${PARENT}0-01`, `00-${TRACE}-${PARENT}`, `x0${good('00', '01')}`, good('01', '01', `-${'x'.repeat(257 - 56)}`)]) {
    t.equal(parseTraceparent(text), undefined, text ?? 'absent')
  }
})

t.test('a problem is one line, and only errors keep a file from loading', async t => {
  const problem: Problem = { severity: 'error', file: 'policies/a.yaml', line: 3, column: 7, message: 'unknown key "x"' }
  const warning: Problem = { ...problem, severity: 'warning', hint: 'leave it out' }
  t.equal(formatProblem(problem), 'policies/a.yaml:3:7 unknown key "x"')
  t.equal(formatProblem(warning), 'policies/a.yaml:3:7 warning: unknown key "x"; leave it out')
  t.same([hasErrors([]), hasErrors([warning]), hasErrors([warning, problem]), hasErrors([problem, warning])], [false, false, true, true])
})

t.test('a rejection is told from every other value', async t => {
  const rejection = reject('no_rule')
  t.same(rejection, { kind: 'rejection', code: 'no_rule', causes: [], detail: undefined, wait: undefined, allow: undefined, challenge: undefined })
  t.same(reject('rate_limit', { causes: ['x'] }).causes, ['x'])
  t.equal(isRejection(rejection), true)
  for (const value of [null, undefined, 'rejection', 5, {}, [], { kind: 'other' }, Object.assign(() => {}, { kind: 'rejection' })]) t.equal(isRejection(value), false, inspect(value))
  t.throws(() => unreachable('odd' as never), { message: 'unreachable: "odd"' })
})

t.test('an exchange begins with nothing decided', async t => {
  const exchange = new Exchange('snapshot', 'id', 1, 2, 'GET', '/a', '192.0.2.1')
  t.match(exchange, { stage: 'record', alias: false, undecided: false, bytesIn: 0, bytesOut: 0, truncated: false, aborted: false, resent: false, recorded: false, snapshot: 'snapshot', id: 'id', time: 1, clock: 2, method: 'GET', rawTarget: '/a', source: '192.0.2.1' })
  for (const field of ['target', 'client', 'proof', 'policy', 'operation', 'rule', 'rejection', 'status', 'trace'] as const) t.equal(exchange[field], undefined, field)
})

t.test('pieces are put together as they came, however small, asked for once or twice', async t => {
  t.doesNotThrow(() => fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 40_000 }), { maxLength: 8 }), fc.nat(8), (parts, early) => {
    const pieces = new Pieces()
    for (const [n, part] of parts.entries()) {
      if (n === early) pieces.whole()
      pieces.add(Buffer.from(part))
    }
    const expected = Buffer.concat(parts)
    return pieces.size === expected.length && pieces.whole().equals(expected) && pieces.whole().equals(expected)
  }), { numRuns: 60 }))
})

t.test('a body in chunks of a byte costs its size, not an object and what was read with it for each', async t => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const held = (): number => { gc(); const { heapUsed, arrayBuffers } = process.memoryUsage(); return heapUsed + arrayBuffers }
  const before = held()
  const pieces = new Pieces()
  for (let read = 0; read < 20; read++) {
    const bytes = Buffer.alloc(65_536, 'x')
    for (let at = 0; at < 10_000; at++) pieces.add(bytes.subarray(at, at + 1))
  }
  const grown = held() - before
  t.equal(pieces.size, 200_000)
  t.ok(grown < 4_000_000, `200,000 bytes take ${grown}`)
})
