// Faults of the wire towards Okta and from clients that take their time.
import { createCaller, later, openMany, requestText, startWorld, tally, until } from './world.mjs'

/**
 * Okta closes its connections up to 20 ms after each answer, so that a call now and then goes out on one that is just ending: that call is
 * lost, and not sent again. Then it closes them after 5 s without a call, later than the gate itself does (4 s): no call may be lost.
 */
export async function keepAliveRace () {
  const CALLS = 2000
  const world = await startWorld({ limits: ', concurrency: 1000' })
  try {
    const caller = createCaller(world.port, world.keys.app, { sockets: 400 })
    const one = (kind, n) => caller.call(`/api/v1/users/${kind}${n}`, n % 2 === 1 ? { method: 'POST', body: '{"profile":{"firstName":"Ada"}}' } : {})
    const race = []
    let next = 0
    await Promise.all(Array.from({ length: 8 }, async () => {
      while (next < CALLS) {
        race.push(await one('race', next++))
        await later(Math.random() * 25)
      }
    }))
    const hard = await world.arrived()
    const patient = []
    await Promise.all(Array.from({ length: 400 }, async (_, n) => {
      for (let round = 0; round < CALLS / 400; round++) {
        await later(3000 + Math.random() * 2500)
        patient.push(await one('idle', round * 400 + n))
      }
    }))
    caller.close()
    const soft = await world.arrived()
    const twice = [...hard.seen, ...soft.seen].filter(([, times]) => times > 1).length
    const statuses = tally(race)
    const lost = statuses['502'] ?? 0
    return {
      bound: `${CALLS} calls, half of them writes, to a server that closes within 20 ms: 200 and arrived once, or 502 and not arrived (10% at most); ${CALLS} to one that closes after 5 s: all 200; none arrives twice`,
      measured: `${JSON.stringify(statuses)}, ${hard.total} arrived; ${JSON.stringify(tally(patient))}, ${soft.total} arrived; ${twice} twice; ${world.troubles} errors in the log`,
      good: (statuses['200'] ?? 0) === hard.total && (statuses['200'] ?? 0) + lost === CALLS && lost <= CALLS * 0.1 && patient.every(({ status }) => status === 200) && soft.total === CALLS && twice === 0 && world.troubles === 0
    }
  } finally { await world.close() }
}

/** 200 calls at once meet a 429: each is sent once at most, and then none until the reset. */
export async function storm () {
  const world = await startWorld({ limits: ', concurrency: 400' })
  try {
    const caller = createCaller(world.port, world.keys.app, { sockets: 200 })
    await caller.call('/api/v1/users/00u1')
    await world.arrived()
    const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => caller.call(`/api/v1/users/spent${n}`)))
    const first = await world.arrived()
    const meanwhile = []
    for (let n = 0; n < 20; n++) { meanwhile.push(await caller.call(`/api/v1/users/00u${n}`)); await later(100) }
    const during = await world.arrived()
    const reopened = await until(async () => (await caller.call('/api/v1/users/00u1')).status === 200, 15_000)
    caller.close()
    const others = answers.filter(({ status }) => status !== 429).length + meanwhile.filter(({ status }) => status !== 429).length
    return {
      bound: 'at most 200 arrive, then none until the reset; open again after it',
      measured: `${first.total} arrived, ${Math.max(...first.seen.map(([, times]) => times))} times each at most; ${during.total} in the next 2 s; ${others} answers were not 429; open again ${reopened === undefined ? 'NEVER' : `${(2 + reopened / 1000).toFixed(1)} s later`}`,
      good: first.total <= 200 && first.seen.every(([, times]) => times === 1) && during.total === 0 && others === 0 && reopened !== undefined
    }
  } finally { await world.close() }
}

/** A byte every half second, and handshakes that are never finished: headers and handshakes end after 10 s, bodies after 30 s. */
export async function slowClients () {
  const EACH = 20
  const world = await startWorld()
  const secure = await startWorld({ tls: true })
  try {
    const ends = { headers: [], body: [], silent: [], handshake: [] }
    const statuses = {}
    const drip = (kind, text) => socket => {
      const begun = performance.now()
      let at = 0
      const timer = setInterval(() => { if (at < text.length && socket.writable) socket.write(text[at++]) }, 500)
      socket.on('data', chunk => { if (kind === 'handshake') return; const status = chunk.toString('latin1').slice(9, 12); statuses[status] = (statuses[status] ?? 0) + 1 })
      socket.once('close', () => { clearInterval(timer); ends[kind].push((performance.now() - begun) / 1000) })
    }
    const long = 'x'.repeat(1000)
    await openMany(world.port, EACH, drip('headers', requestText('GET /api/v1/users', world.keys.app, [`X-Long: ${long}`])))
    await openMany(world.port, EACH, socket => {
      socket.write(requestText('POST /api/v1/users/00u1', world.keys.app, ['Content-Type: application/json', 'Content-Length: 1000']))
      drip('body', long)(socket)
    })
    await openMany(world.port, EACH, drip('silent', ''))
    // Half of them say nothing, the others begin a record of a handshake (RFC 8446 section 5.1).
    await openMany(secure.port, EACH, (socket, n) => { drip('handshake', n % 2 === 0 ? '' : '\x16\x03\x01\x01')(socket) })
    await until(() => ends.headers.length === EACH && ends.body.length === EACH && ends.silent.length === EACH && ends.handshake.length === EACH, 60_000)
    const slowest = list => list.length === EACH ? Math.max(...list) : Infinity
    const { total } = await world.arrived()
    const canary = createCaller(world.port, world.keys.app)
    const after = await canary.call('/api/v1/users/00u1')
    canary.close()
    return {
      bound: `${EACH} each: headers, silence and handshakes over within 10 s, bodies within 30 s, each with 2 s for the check; nothing arrives`,
      measured: `longest: headers ${slowest(ends.headers).toFixed(1)} s, silence ${slowest(ends.silent).toFixed(1)} s, handshake ${slowest(ends.handshake).toFixed(1)} s, body ${slowest(ends.body).toFixed(1)} s; ${JSON.stringify(statuses)}; ${total} arrived; then ${after.status}`,
      good: slowest(ends.headers) <= 12 && slowest(ends.silent) <= 12 && slowest(ends.handshake) <= 12 && slowest(ends.body) <= 32 && total === 0 && after.status === 200
    }
  } finally { await world.close(); await secure.close() }
}
