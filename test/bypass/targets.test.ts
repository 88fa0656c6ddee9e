import t from 'tap'
import { createCatalog } from '../../src/okta/catalog.js'
import { client, request, startRig, startStub } from '../support/gate.js'
import { ambiguousTargets } from './targets.js'

const METHODS = ['GET', 'POST', 'PUT', 'DELETE'] as const

/** Allows every operation of the catalogue, with any query: nothing but the gate's own reading stands in the way. */
const everything = client('everything', `allow:\n${createCatalog().operations
  .filter(operation => !operation.reserved)
  .map(({ id }) => `  - { operation: ${JSON.stringify(id)}, query: any }`).join('\n')}`)

const stub = await startStub(t)
const rig = await startRig(t, { org: stub.origin, policies: { 'everything.yaml': everything.text } })

t.test('a policy for everything lets ordinary targets through', async t => {
  const ordinary = ['GET /api/v1/users', 'GET /api/v1/users/00u1', 'GET /api/v1/users/a.b@example.com', 'GET /api/v1/users/a%20b', 'POST /api/v1/authn', 'POST /api/v1/authn/', 'DELETE /api/v1/groups/00g1']
  for (const line of ordinary) t.equal((await rig.ask(request(line, everything.key))).status, 200, line)
  t.same(stub.requests.map(({ method, target }) => `${method} ${target}`), ordinary)
  await rig.events(ordinary.length)
  stub.requests.length = 0
})

t.test('no ambiguous target reaches the upstream, by whatever method', async t => {
  t.ok(ambiguousTargets.length >= 60, `${ambiguousTargets.length} targets`)
  for (const { raw, refusedBy } of ambiguousTargets) {
    // One connection for all methods: a refusal must leave it in order, or close it.
    let connection = await rig.open()
    for (const method of METHODS) {
      connection.send(request(`${method} ${raw}`, everything.key, method === 'POST' ? ['Content-Type: application/json'] : [], method === 'POST' ? '{"x":1}' : undefined))
      const answer = await connection.answer()
      const expected = refusedBy === 'target' ? [400] : [403, 405]
      if (answer === undefined || !expected.includes(answer.status)) t.fail(`${method} ${raw}: ${answer?.status} ${answer?.text}`)
      else if (answer.error.errorId !== answer.header('x-narrowgate-request-id')) t.fail(`${method} ${raw}: errorId`)
      if (answer?.header('connection') === 'close') { connection.destroy(); connection = await rig.open() }
    }
    connection.destroy()
  }
  t.same(stub.requests.map(({ line }) => line), [], 'nothing has arrived')
  const events = await rig.events(ambiguousTargets.length * METHODS.length)
  t.equal(events.length, ambiguousTargets.length * METHODS.length, 'one audit event each')
  t.ok(events.every(event => event.outcome === 'refused'), 'all of them refusals')
})

t.test('targets that hold raw bytes outside ASCII or spaces never become another target', async t => {
  const lines = ['GET /api/v1/users/\xe9', 'GET /api/v1/users/a b', 'GET /api/v1/users/\x01', 'GET /api/v1/users/\x7f', 'GET /api/v1/users/\x00', 'GET\t/api/v1/users', 'GET /api/v1/users\t', ' GET /api/v1/users', `GET /api/v1/users/${'a'.repeat(5000)}`]
  for (const line of lines) {
    const answer = await rig.ask(request(line, everything.key))
    t.match(String(answer.status), /^4\d\d$/, JSON.stringify(line.slice(0, 60)))
  }
  t.equal(stub.requests.length, 0)
  t.equal((await rig.events(lines.length)).length, lines.length)
})
