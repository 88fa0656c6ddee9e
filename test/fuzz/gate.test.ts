import fc from 'fast-check'
import t from 'tap'
import { newKey } from '../../src/clients/api-key.js'
import { isRejection } from '../../src/domain/rejection.js'
import { parseTarget } from '../../src/domain/target.js'
import { parseStrictJson } from '../../src/policy/json.js'
import { calls, catalog, compiled, policies, policyText } from '../policy/arbitrary.js'
import { interpret, type RefCall, type RefPolicy } from '../policy/reference.js'
import { request, startRig, startStub, type StubRequest } from '../support/gate.js'
import { RawClient } from '../support/raw-client.js'
import { Dice, mutated } from './mutate.js'

/** GATE_FUZZ_REQUESTS=100000 GATE_FUZZ_SEED=2 npx tap test/fuzz/gate.test.ts is the long run. */
const REQUESTS = Number(process.env['GATE_FUZZ_REQUESTS'] ?? 400)
const SEED = Number(process.env['GATE_FUZZ_SEED'] ?? 1)
const OPERATIONS = `operations:
  - { id: one, request: 'POST /zoo/{keeper}/animals/{animal}', bucket: /zoo, query: [p, q] }
  - { id: two, request: 'DELETE /zoo/{keeper}', bucket: /zoo, query: [] }
`

const keys = Array.from({ length: 12 }, (_, n) => newKey(count => new Uint8Array(count).fill(n + 1)))
const keyOf = (n: number): string => keys[n]!.key
const loadable = fc.sample(policies.filter(policy => compiled(policy).errors.length === 0), { numRuns: 12, seed: SEED })
const files = Object.fromEntries(loadable.map((policy, n) => [`c${n}.yaml`, policyText(policy).replace('client: c\n', `client: c${n}\n`).replace('a'.repeat(64), keys[n]!.sha256)]))

function textOf ({ operation, parameters, alias, query, body }: RefCall, n: number): string {
  let path = alias ? operation.aliases[0]! : operation.template
  for (const parameter of parameters) path = path.replace(/\{.*?\}/, parameter)
  const search = query.map(({ name, value }) => `${name}=${value}`).join('&')
  const json = body.kind === 'json' ? JSON.stringify(body.value) : body.kind === 'absent' ? undefined : '{"x":'
  return request(`${operation.method} ${path}${search === '' ? '' : `?${search}`}`, keyOf(n), ['Cookie: CLIENTS=1', 'X-Forwarded-For: 10.9.9.9', ...json === undefined ? [] : ['Content-Type: application/json']], json)
}

/** Why a request should not have arrived, judged by the reference interpreter from nothing but its bytes. */
function objection (got: StubRequest, policy: RefPolicy | undefined): string | undefined {
  const target = parseTarget(got.target, catalog.slashAliases)
  if (isRejection(target) || new URL(`http://x${got.target}`).href !== `http://x${got.target}`) return 'not in canonical spelling'
  const resolution = catalog.resolve(got.method, target)
  if (resolution.kind !== 'operation') return 'no operation'
  const { operation, parameters, alias } = resolution
  const credential = got.header('authorization')
  if (credential !== (operation.id === 'authn' ? undefined : 'SSWS 00CANARYupstreamTOKEN')) return `the credential ${credential ?? 'none'}`
  if (got.headers.some(([name, value]) => /cookie|forwarded/i.test(name) || /CLIENTS|10\.9\.9|ngk_/.test(value))) return 'something of the client\'s'
  if (policy === undefined) return 'no client'
  const body = parseStrictJson(got.body, got.header('content-type'), got.header('content-encoding'))
  const answer = interpret(policy, { operation, parameters, alias, query: target.query, body })
  return 'deny' in answer ? `the policy denies it: ${answer.deny}` : undefined
}

t.test('whatever is sent, only what the policy admits arrives, as the reference reads it, and each request is one event', async t => {
  const stub = await startStub(t)
  const rig = await startRig(t, { org: stub.origin, policies: { 'operations.yaml': OPERATIONS, ...files } })
  const dice = new Dice(SEED)
  const sent = fc.sample(calls, { numRuns: REQUESTS, seed: SEED }).map(call => ({ ...call, query: call.query.map(each => ({ ...each, ambiguous: false })) }))
  let arrived = 0
  let answered = 0
  let wrong: string | undefined
  let previous = ''
  for (const [i, call] of sent.entries()) {
    const n = dice.below(loadable.length)
    const honest = textOf(call, n)
    const harmed = i % 3 !== 0
    const text = harmed ? mutated([honest], ['/', '%2e', '%2F', '?p=a', '&p=b', ' HTTP/1.1\r\n', 'Content-Length: 5\r\n', '"x":', '{', keyOf((n + 1) % loadable.length), 'me', 'a', 'b'], dice) : honest
    const before = stub.requests.length
    const last = previous
    previous = text
    const connection = await RawClient.connect(rig.port)
    connection.send(Buffer.from(text, 'latin1'))
    // What is not whole is ended from here: nobody waits for the rest.
    if (harmed) connection.socket.end()
    const answer = await connection.answer(8000, text.startsWith('HEAD')).catch(() => undefined)
    connection.destroy()
    if (answer !== undefined) answered++
    for (const got of stub.requests.slice(before)) {
      arrived++
      // A request whose client has left may arrive while the next one is under way.
      const owners = loadable.filter((_, m) => text.includes(keyOf(m)) || last.includes(keyOf(m)))
      // With the keys of two in it, either may be the client.
      const whys = owners.map(policy => objection(got, policy))
      const why = owners.length === 0 ? objection(got, undefined) : whys.includes(undefined) ? undefined : whys[0]
      if (why !== undefined) wrong ??= `${why}: ${JSON.stringify(text)}\n${got.line}`
    }
    if (!harmed) {
      const body = call.body
      const expected = !('deny' in interpret(loadable[n]!, { ...call, body }))
      const reached = stub.requests.length > before
      if (expected !== reached) wrong ??= `${expected ? 'not forwarded' : 'forwarded'}: ${JSON.stringify(text)} ${answer?.text ?? ''}`
    }
    if (wrong !== undefined) break
  }
  t.equal(wrong, undefined)
  t.comment(`${arrived} of ${REQUESTS} arrived, ${answered} were answered`)
  t.ok(arrived > REQUESTS / 20, `${arrived} of ${REQUESTS} arrived`)
  const events = await rig.events(answered)
  const ends = events.filter(event => event['phase'] === undefined)
  t.ok(ends.length >= answered, `${ends.length} events for ${answered} answers`)
  t.equal(new Set(ends.map(({ id }) => id)).size, ends.length, 'each of a request of its own')
  t.ok(ends.filter(({ outcome }) => outcome === 'allowed' || outcome === 'aborted').length >= arrived - ends.filter(({ outcome }) => outcome === 'failed').length, 'what arrived is in the log')
})
