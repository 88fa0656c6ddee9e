import t from 'tap'
import { Batches } from '../../src/limits/batches.js'
import type { Step } from '../../src/limits/wire.js'

/** Batches over a store that answers when it is told to. */
function world () {
  const sent: Array<{ steps: readonly Step[], answer: () => Promise<void>, babble: (text: string) => Promise<void>, fail: () => Promise<void> }> = []
  let turn: Array<() => void> = []
  let timers: Array<(now: number) => void> = []
  const settled = async (): Promise<void> => { await new Promise(resolve => setImmediate(resolve)) }
  const batches: Batches = new Batches({
    clock: () => 0,
    soon: run => { turn.push(run) },
    later: (_ms, run) => { timers.push(run) },
    heard: () => true,
    lost: () => { batches.fail() },
    send: async steps => await new Promise((resolve, reject) => {
      sent.push({
        steps,
        answer: async () => { resolve(JSON.stringify([1, 'open', ...steps.map(([, name]) => name)])); await settled() },
        babble: async text => { resolve(text); await settled() },
        fail: async () => { reject(new Error('gone')); await settled() }
      })
    })
  })
  const endTurn = (): void => { const runs = turn; turn = []; for (const run of runs) run() }
  const expire = (): void => { const runs = timers; timers = []; for (const run of runs) run(0) }
  return { batches, sent, endTurn, expire }
}

t.test('what comes while a batch is on its way goes together when its answer is there, in order', async t => {
  const { batches, sent, endTurn } = world()
  const got: unknown[] = []
  const push = (name: string): void => { batches.push(['r', name], result => { got.push(result) }) }
  push('a')
  push('b')
  endTurn()
  for (const name of ['c', 'd', 'e']) { push(name); endTurn() }
  t.strictSame(sent.map(({ steps }) => steps), [[['r', 'a'], ['r', 'b']]])
  await sent[0]!.answer()
  t.strictSame(sent[1]!.steps, [['r', 'c'], ['r', 'd'], ['r', 'e']])
  await sent[1]!.answer()
  t.strictSame(got, ['a', 'b', 'c', 'd', 'e'])
  push('f')
  endTurn()
  t.equal(sent.length, 3, 'with nothing on its way it goes at the end of the turn')
})

t.test('a slow store holds nothing up for longer than a moment', async t => {
  const { batches, sent, endTurn, expire } = world()
  batches.push(['r', 'a'])
  endTurn()
  batches.push(['r', 'b'])
  endTurn()
  expire()
  t.strictSame(sent.map(({ steps }) => steps.length), [1, 1], 'sent while the first has no answer')
  batches.push(['r', 'c'])
  endTurn()
  await sent[0]!.answer()
  t.equal(sent.length, 2, 'one is still on its way')
  await sent[1]!.answer()
  t.strictSame(sent[2]!.steps, [['r', 'c']])
  expire()
  t.equal(sent.length, 3, 'a timer that comes late sends nothing twice')
})

t.test('what is held when the store is lost has no answer, like what was on its way', async t => {
  const { batches, sent, endTurn, expire } = world()
  const got: unknown[] = []
  for (const name of ['a', 'b']) { batches.push(['r', name], result => { got.push([name, result]) }); endTurn() }
  await sent[0]!.fail()
  t.strictSame(got, [['a', undefined], ['b', undefined]])
  expire()
  t.equal(sent.length, 1)
  batches.push(['j', 'c'], result => { got.push(result) })
  endTurn()
  await sent[1]!.answer()
  t.equal(got.at(-1), 'c', 'and what comes afterwards is sent as ever')
})

t.test('an answer that is none is no answer', async t => {
  for (const text of ['', 'OK', '{', 'null', '{"0":1}']) {
    const { batches, sent, endTurn } = world()
    const got: unknown[] = []
    batches.push(['r', 'a'], result => { got.push(result) })
    endTurn()
    await sent[0]!.babble(text)
    t.strictSame(got, [undefined], text)
  }
})
