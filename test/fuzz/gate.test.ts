import { connect, type Socket } from 'node:net'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { newKey } from '../../src/clients/api-key.js'
import type { Operation } from '../../src/domain/operation.js'
import { parseTarget } from '../../src/domain/target.js'
import { isRejection } from '../../src/domain/rejection.js'
import { findTripped } from '../../src/emulator/received.js'
import { outsideCalls, scenario } from '../../src/emulator/scenario.js'
import { startEmulator } from '../../src/emulator/server.js'
import { createCatalog } from '../../src/okta/catalog.js'
import { leafPaths } from '../../src/policy/body-path.js'
import { loadPolicies } from '../../src/policy/load.js'
import { calls, catalog, compiled, policies, policyText } from '../policy/arbitrary.js'
import { interpret, type RefCall, type RefPolicy, type RefRule } from '../policy/reference.js'
import { request, startRig, startStub, until, UPSTREAM_TOKEN, type Stub, type StubRequest } from '../support/gate.js'
import { RawClient } from '../support/raw-client.js'
import { Dice, mutated } from './mutate.js'
import { objection } from './oracle.js'

/** GATE_FUZZ_REQUESTS=100000 GATE_FUZZ_SEED=2 npx tap test/fuzz/gate.test.ts is the long run: so many for each of the two. */
const REQUESTS = Number(process.env['GATE_FUZZ_REQUESTS'] ?? 200)
const SEED = Number(process.env['GATE_FUZZ_SEED'] ?? 1)
const CLIENTS = 12
const OPERATIONS = `operations:
  - { id: one, request: 'POST /zoo/{keeper}/animals/{animal}', bucket: /zoo, query: [p, q] }
  - { id: two, request: 'DELETE /zoo/{keeper}', bucket: /zoo, query: [] }
`
/** Words of attacks that may end up anywhere. */
const WORDS = ['/', '//', '/..', '%2e', '%2F', '%5c', '\\', ';', '?', '?p=a', '&p=b', '#', '%00', ' HTTP/1.1\r\n', '\r\n', '\r\n ', 'Content-Length: 5\r\n', 'Content_Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', 'Connection: close\r\n', 'Connection: content-type\r\n', 'Cookie: CLIENTS=2\r\n', 'X-HTTP-Method-Override: DELETE\r\n', 'Host: other\r\n', 'Expect: 100-continue\r\n', '0\r\n\r\n', '"x":', '"x":1,', '{', '"profile":{"login":"x"},', 'me', 'a', 'b', 'DELETE', 'PUT']

const keys = Array.from({ length: CLIENTS }, (_, n) => newKey(count => new Uint8Array(count).fill(n + 1)))
const keyOf = (n: number): string => keys[n]!.key
const filesOf = (all: readonly RefPolicy[]): Record<string, string> => Object.fromEntries(all.map((policy, n) => [`c${n}.yaml`, policyText(policy).replace('client: c\n', `client: c${n}\n`).replace('a'.repeat(64), keys[n]!.sha256)]))
const withHarms = (line: string, n: number, json: string | undefined): string => request(line, keyOf(n), ['Cookie: CLIENTS=1', 'X-Forwarded-For: 10.9.9.9', ...json === undefined ? [] : ['Content-Type: application/json']], json)

/** An honest request, and the call that it is; a text says why no gate takes it as it stands. */
interface Honest { readonly text: string, readonly client: number, readonly call: RefCall | undefined }

interface Siege {
  readonly files: Readonly<Record<string, string>>
  /** of the clients c0, c1 … */
  readonly policies: readonly RefPolicy[]
  readonly operations: readonly Operation[]
  readonly stub: Stub
  readonly honest: (nth: number, dice: Dice) => Honest
}

/** A header that goes to Okta as it came. */
const MARK = 'X-Okta-User-Agent-Extended'

/** Sends requests, every other one harmed, to a gate over random policies; the oracle judges each that arrives, and the log each that was sent. */
async function besiege (t: Test, { files, policies, operations, stub, honest }: Siege): Promise<void> {
  const rig = await startRig(t, { org: stub.origin, policies: files })
  const parties = { token: UPSTREAM_TOKEN, upstream: `127.0.0.1:${stub.port}`, keys: policies.map((_, n) => keyOf(n)) }
  const dice = new Dice(SEED)
  let arrived = 0
  let answered = 0
  let wrong: string | undefined
  const recent = new Map<string, string>()
  for (let i = 0; i < REQUESTS && wrong === undefined; i++) {
    const { text: unmarked, client: n, call } = honest(i, dice)
    const mark = `siege.${Math.imul(i, 2654435761) >>> 0}.`
    const whole = unmarked.replace('\r\n', `\r\n${MARK}: ${mark}\r\n`)
    const harmed = i % 2 !== 0
    const text = harmed ? mutated([whole], [...WORDS, keyOf((n + 1) % policies.length)], dice) : whole
    recent.set(mark, text)
    if (recent.size > 100) recent.delete(recent.keys().next().value!)
    const before = stub.requests.length
    const connection = await RawClient.connect(rig.port)
    connection.send(Buffer.from(text, 'latin1'))
    // What is not whole is not waited for: its rest will not come.
    const answer = await connection.answer(harmed ? 60 : 8000, text.startsWith('HEAD')).catch(() => undefined)
    connection.socket.end()
    await connection.ends()
    connection.destroy()
    if (answer !== undefined) answered++
    for (const got of stub.requests.slice(before)) {
      arrived++
      // On a machine that is late one may arrive when the next has been sent: its mark says which it is, where no harm was done to that.
      const sent = recent.get(got.header(MARK) ?? '') ?? text
      const owners = policies.filter((_, m) => sent.includes(keyOf(m)))
      // With the keys of two in it, either may be the client.
      const whys = owners.map(policy => objection(got, policy, operations, parties))
      const why = owners.length === 0 ? objection(got, undefined, operations, parties) : whys.includes(undefined) ? undefined : whys[0]
      if (why !== undefined) wrong ??= `${why}: ${JSON.stringify(sent)}\n${got.line}`
    }
    // A user may sign in once a second: what the policy allows may still be too soon.
    if (!harmed && call !== undefined && answer?.status !== 429) {
      const expected = !('deny' in interpret(policies[n]!, call))
      const reached = stub.requests.slice(before).some(got => got.header(MARK) === mark)
      if (expected !== reached) wrong ??= `${expected ? 'not forwarded' : 'forwarded'}: ${JSON.stringify(text)} ${answer?.text ?? ''}`
    }
  }
  t.equal(wrong, undefined)
  t.comment(`${arrived} of ${REQUESTS} arrived, ${answered} were answered`)
  t.ok(arrived > REQUESTS / 20, `${arrived} of ${REQUESTS} arrived`)
  const events = await rig.events(answered)
  const ends = events.filter(event => event['phase'] === undefined)
  t.ok(ends.length >= answered, `${ends.length} events for ${answered} answers`)
  t.equal(new Set(ends.map(({ id }) => id)).size, ends.length, 'each of a request of its own')
  t.ok(ends.filter(({ outcome }) => outcome === 'allowed' || outcome === 'aborted').length >= arrived - ends.filter(({ outcome }) => outcome === 'failed').length, 'what arrived is in the log')
}

t.test('whatever is sent, only what the policy admits arrives, as the reference reads it, and each request is one event', async t => {
  const loadable = fc.sample(policies.filter(policy => compiled(policy).errors.length === 0), { numRuns: CLIENTS, seed: SEED })
  const sent = fc.sample(calls, { numRuns: REQUESTS, seed: SEED })
  await besiege(t, {
    files: { 'operations.yaml': OPERATIONS, ...filesOf(loadable) },
    policies: loadable,
    operations: catalog.operations,
    stub: await startStub(t),
    honest (nth, dice) {
      const call = { ...sent[nth]!, query: sent[nth]!.query.map(each => ({ ...each, ambiguous: false })) }
      const { operation, parameters, alias, query, body } = call
      const client = dice.below(loadable.length)
      let path = alias ? operation.aliases[0]! : operation.template
      for (const parameter of parameters) path = path.replace(/\{.*?\}/, parameter)
      const search = query.map(({ name, value }) => `${name}=${value}`).join('&')
      const json = body.kind === 'json' ? JSON.stringify(body.value) : body.kind === 'absent' ? undefined : '{"x":'
      return { text: withHarms(`${operation.method} ${path}${search === '' ? '' : `?${search}`}`, client, json), client, call }
    }
  })
})

/** Hands what the stub has received on to another server, byte for byte, and its answer back. */
function handOn (port: number, { line, headers, body }: StubRequest, socket: Socket): void {
  const onward = connect(port, '127.0.0.1')
  onward.on('error', () => { socket.destroy() })
  onward.write(Buffer.concat([Buffer.from(`${[line, ...headers.filter(([name]) => name.toLowerCase() !== 'connection').map(([name, value]) => `${name}: ${value}`), 'Connection: close'].join('\r\n')}\r\n\r\n`, 'latin1'), body]))
  onward.on('data', chunk => { socket.write(chunk) }).on('end', () => { socket.end() })
}

t.test('the same beside an emulated org: its scenario, under policies that allow some of it, on some conditions', async t => {
  const emulator = await startEmulator({ apiTokens: [{ token: UPSTREAM_TOKEN }], rateLimitScale: 1000 })
  t.teardown(() => emulator.close())
  const stub = await startStub(t)
  stub.answer = (received, socket) => { handOn(emulator.port, received, socket) }
  const real = createCatalog()
  const read = [...scenario(emulator.org, Date.now()), ...outsideCalls(emulator.org, Date.now())].flatMap(each => {
    const step = { ...each, body: each.body === undefined ? undefined : JSON.parse(JSON.stringify(each.body)) as unknown }
    const target = parseTarget(step.target, real.slashAliases)
    const resolution = isRejection(target) ? undefined : real.resolve(step.method, target)
    return isRejection(target) || resolution?.kind !== 'operation' || resolution.operation.reserved ? [] : [{ step, target, resolution, paths: step.body === undefined ? [] : leafPaths(step.body) }]
  })
  // A rule is made of a call: of its values as they are, or without some of them, or with a condition that it does not meet.
  const rule = fc.constantFrom(...read).chain(({ step, target, resolution: { operation, parameters }, paths }): fc.Arbitrary<RefRule> => fc.record({
    operation: fc.constant(operation.id),
    where: parameters.length === 0 ? fc.constant(undefined) : fc.constantFrom(undefined, undefined, { [operation.parameters[0]!]: [parameters[0]!] }, { [operation.parameters[0]!]: ['00u1nobody'] }),
    query: target.query.length === 0 ? fc.constantFrom(undefined, 'any' as const) : fc.constantFrom(undefined, 'any' as const, { require: {}, allow: Object.fromEntries(target.query.map(({ name, value }) => [name, [value]])) }),
    body: step.body === undefined || paths.length === 0 || paths.includes('') ? fc.constant(undefined) : fc.oneof(fc.constant(undefined), fc.subarray(paths.filter(path => !path.includes('*')), { minLength: 1 }).map(only => ({ only })))
  }))
  const policy: fc.Arbitrary<RefPolicy> = fc.record({ mode: fc.constant('enforce' as const), allow: fc.array(rule, { minLength: 40, maxLength: 100 }), deny: fc.array(rule.map(({ operation, where }) => ({ operation, where })), { maxLength: 2 }) })
  const isSound = (each: RefPolicy): boolean => loadPolicies([{ path: 'c.yaml', text: policyText(each) }], () => real, 0).problems.every(({ severity }) => severity !== 'error')
  const several = fc.sample(policy.filter(isSound), { numRuns: CLIENTS, seed: SEED })
  await besiege(t, {
    files: filesOf(several),
    policies: several,
    operations: real.operations,
    stub,
    honest (_, dice) {
      const { step, target, resolution: { operation, parameters, alias } } = dice.of(read)
      const client = dice.below(several.length)
      const body = step.body === undefined ? { kind: 'absent' as const } : { kind: 'json' as const, value: step.body }
      return { text: withHarms(`${step.method} ${step.target}`, client, step.body === undefined ? undefined : JSON.stringify(step.body)), client, call: { operation, parameters, alias, query: target.query, body } }
    }
  })
  await until(() => emulator.received.count === stub.requests.length)
  t.equal(emulator.received.count, stub.requests.length, 'the org has seen what the oracle has judged')
  t.same(findTripped(emulator.received.all, keys.map(({ key }) => key)), [], 'and nothing of a client\'s')
  t.ok(emulator.received.all.filter(({ status }) => status !== undefined && status < 300).length > REQUESTS / 40, 'much of it was executed')
})
