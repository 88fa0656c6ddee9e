import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { client, later, respond, startRig, startStub, until, UPSTREAM_TOKEN, type Stub } from '../support/gate.js'
import { RawClient, type RawAnswer } from '../support/raw-client.js'
import { judge, type Outcome } from './judge.js'
import { bodies } from './vectors/bodies.js'
import { encoding } from './vectors/encoding.js'
import { framing } from './vectors/framing.js'
import { headers } from './vectors/headers.js'
import { methods } from './vectors/methods.js'
import { query } from './vectors/query.js'
import { responses } from './vectors/responses.js'
import { reuse } from './vectors/reuse.js'
import { targets } from './vectors/targets.js'
import { ALLOW, http, USER, type Vector } from './vectors/vector.js'

/** The classes of security.md, by what they are about. */
const CLASSES: Readonly<Record<string, readonly Vector[]>> = { targets, encoding, query, framing, headers, bodies, methods, reuse, responses }
const count = Object.values(CLASSES).flat().length
const app = client('app', ALLOW)
const GOOD: Vector = { name: 'a good one', bytes: http(`GET ${USER}`), arrives: [`GET ${USER}`], answers: [200] }

/** Something that vectors are run against: where it listens, and the upstream behind it. */
interface Rigged { readonly stub: Stub, readonly port: () => Promise<number> }

/** Sends a vector on a connection of its own and waits for what it brings about. */
async function run (vector: Vector, { stub, port }: Rigged, patienceMs: number): Promise<Outcome> {
  stub.requests.length = 0
  stub.answer = (_, socket) => {
    if (vector.upstream === undefined) socket.write(respond(200))
    else socket.end(Buffer.from(vector.upstream.replaceAll('{upstream}', `127.0.0.1:${stub.port}`), 'latin1'))
  }
  // Who has just died of the vector before is started once more.
  const connection = await RawClient.connect(await port()).catch(async () => { await later(50); return await RawClient.connect(await port()) })
  connection.send(vector.bytes.replaceAll('{key}', app.key))
  const answers: RawAnswer[] = []
  for (let due = vector.answers?.length ?? 1, patience = patienceMs; answers.length < Math.max(due, 1); patience = patienceMs) {
    const answer = await connection.answer(vector.answers?.length === 0 ? 60 : patience, vector.bytes.startsWith('HEAD')).catch(() => undefined)
    if (answer === undefined) break
    answers.push(answer)
    due = vector.answers?.length ?? 1
  }
  // One answer, or one request, too many comes right behind.
  await until(() => stub.requests.length > (vector.arrives?.length ?? 0), 5)
  const more = await connection.answer(1).catch(() => undefined)
  if (more !== undefined) answers.push(more)
  connection.destroy()
  return { received: [...stub.requests], answers }
}

/** @returns by class: what is wrong, vector by vector */
async function runAll (names: readonly string[], rigged: Rigged, patienceMs: number, step = 1): Promise<Map<string, string[]>> {
  const parties = { key: app.key, token: UPSTREAM_TOKEN, upstream: `127.0.0.1:${rigged.stub.port}` }
  const failures = new Map<string, string[]>()
  for (const name of names) {
    const wrong: string[] = []
    for (const [index, vector] of CLASSES[name]!.entries()) {
      if (index % step !== 0) continue
      const found = judge(vector, await run(vector, rigged, patienceMs), parties)
      // A hostile answer must not be felt by the next request, and five in a row would open the circuit breaker.
      if (vector.upstream !== undefined) found.push(...judge(GOOD, await run(GOOD, rigged, patienceMs), parties).map(text => `next: ${text}`))
      if (found.length > 0) wrong.push(`${vector.name.slice(0, 100)}: ${found.join('; ')}`)
    }
    failures.set(name, wrong)
  }
  return failures
}

/** Classes side by side, so that waiting for one costs the others nothing. */
const LANES: readonly (readonly string[])[] = [['targets', 'methods'], ['encoding', 'query'], ['framing', 'reuse'], ['headers', 'bodies'], ['responses']]

t.test('nothing arrives that may not, and what arrives is what was judged', async t => {
  t.ok(count >= 300, `${count} vectors`)
  t.same(LANES.flat().sort(), Object.keys(CLASSES).sort())
  await Promise.all(LANES.map(async names => {
    const stub = await startStub(t)
    const rig = await startRig(t, { org: stub.origin, policies: { 'app.yaml': app.text } })
    const failures = await runAll(names, { stub, port: async () => rig.port }, 3000)
    for (const [name, wrong] of failures) t.same(wrong, [], `${name}: ${CLASSES[name]!.length} vectors`)
    t.notMatch(rig.log(), /a request failed inside the gate|uncaught/, 'no fault')
  }))
})

/** A child process that may die of a vector: then it is started again, and that is a failure of the vector before. */
async function startNaive (t: { teardown: (end: () => unknown) => void }, stub: Stub): Promise<Rigged & { readonly deaths: () => number }> {
  let child: ChildProcess | undefined
  let port = 0
  let deaths = 0
  t.teardown(() => { child?.kill('SIGKILL') })
  const start = async (): Promise<void> => {
    child = spawn(process.execPath, [fileURLToPath(new URL('naive-proxy.mjs', import.meta.url))], {
      env: { PATH: process.env['PATH'], UPSTREAM: stub.origin, CLIENT_KEY: app.key, UPSTREAM_TOKEN }, stdio: ['ignore', 'pipe', 'ignore']
    })
    child.once('exit', () => { if (child?.killed === false) deaths++; child = undefined })
    port = Number((await once(child.stdout!, 'data'))[0])
  }
  return { stub, deaths: () => deaths, port: async () => { if (child === undefined) await start(); return port } }
}

/** Every so many vectors that are sent to the naive proxy; NARROWGATE_ALL_VECTORS=1 sends all. */
const STEP = process.env['NARROWGATE_ALL_VECTORS'] === '1' ? 1 : 4

t.test('the same vectors find a naive proxy out, in most classes', async t => {
  const failed = new Map<string, number>()
  let deaths = 0
  await Promise.all(LANES.map(async names => {
    const stub = await startStub(t)
    const naive = await startNaive(t, stub)
    for (const [name, wrong] of await runAll(names, naive, 100, names.includes('responses') ? 1 : STEP)) failed.set(name, wrong.length)
    deaths += naive.deaths()
  }))
  const found = [...failed].filter(([, failures]) => failures > 0)
  t.comment([...failed].map(([name, failures]) => `${name} ${failures}/${Math.ceil(CLASSES[name]!.length / (name === 'responses' ? 1 : STEP))}`).join(', '), `deaths ${deaths}`)
  t.ok(found.length >= 7, `${found.length} of ${failed.size} classes fail`)
  t.ok([...failed.values()].reduce((sum, failures) => sum + failures) > 100, 'more than 100 of them')
  t.ok(deaths > 0, 'and it dies of some')
})
