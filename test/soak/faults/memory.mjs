// Faults that aim at memory: what the gate holds while clients take, send or ask too much.
import { createCaller, forgetPeak, later, openMany, peakMb, requestText, startWorld, tally, until, warm } from './world.mjs'

const WIDE = ', maxConnections: 10000, maxConnectionsPerAddress: 10000, maxRequests: 100000'
/** What a client that is in nobody's way is answered meanwhile. */
async function canary (world, calls = 20) {
  const caller = createCaller(world.port, world.keys.canary, { localAddress: '127.0.0.2', sockets: 1 })
  const answers = []
  for (let n = 0; n < calls; n++) answers.push(await caller.call('/api/v1/users/00u1'))
  caller.close()
  return answers
}
const good = answers => answers.every(({ status }) => status === 200)
const mb = value => `${value.toFixed(0)} MB`

/** 100 clients ask for a list of 5 MB and read nothing of it: each may hold a megabyte, for a minute. */
export async function slowReaders () {
  const READERS = 100
  const world = await startWorld({ clients: ['app', 'canary'], limits: ', concurrency: 1000' })
  try {
    const before = await warm(world)
    await canary(world)
    const files = world.memory().fds
    forgetPeak(world.pid)
    const sockets = await openMany(world.port, READERS, (socket, n) => { socket.pause(); socket.write(requestText(`GET /api/v1/users/list${n}`, world.keys.app)) })
    const begun = performance.now()
    await later(5000)
    const answers = await canary(world)
    const grown = peakMb(world.pid) - before
    const cut = () => world.events.filter(({ path, truncated, outcome }) => path?.includes('/list') && (truncated === true || outcome === 'aborted')).length
    await until(() => cut() === READERS, 85_000)
    const seconds = (performance.now() - begun) / 1000
    const gone = await until(() => world.memory().fds <= files + 10, 10_000)
    for (const socket of sockets) socket.destroy()
    return {
      bound: `${READERS} readers of 5 MB: + ${READERS} MB at most; others served; all cut off 60 to 75 s later`,
      measured: `+ ${mb(grown)} at the peak; canary ${JSON.stringify(tally(answers))}; ${cut()} cut off after ${seconds.toFixed(0)} s, descriptors back: ${gone !== undefined}`,
      good: grown <= READERS && good(answers) && cut() === READERS && seconds >= 60 && seconds <= 85 && gone !== undefined
    }
  } finally { await world.close() }
}

/** 10,000 slow readers: with the caps that a gate has by itself, and with caps that let (nearly) all of them in. */
export async function manySlowReaders () {
  const ASKED = 9900
  const narrow = await crowd(ASKED, 'list', {})
  const wide = await crowd(ASKED, 'page', { listen: WIDE, limits: ', concurrency: 9900, clientConcurrency: 100%' })
  return {
    bound: `${ASKED} readers; caps as shipped, 5 MB each: + 64 MB at most; caps at 10,000, 512 kB each (what the kernel does not take stays in flight): 256 kB each at most; others served; then all is given back`,
    measured: `as shipped: ${narrow.inFlight} in flight, + ${mb(narrow.grown)}, canary ${JSON.stringify(tally(narrow.answers))}; wide: ${wide.inFlight} in flight, + ${mb(wide.grown)} (${(wide.grown * 1024 / wide.inFlight).toFixed(0)} kB each), canary ${JSON.stringify(tally(wide.answers))}; descriptors back: ${narrow.gone} ${wide.gone}, then ${narrow.after.status} ${wide.after.status}`,
    good: narrow.grown <= 64 && wide.grown * 1024 <= 256 * wide.inFlight && wide.inFlight > ASKED / 2 && good(narrow.answers) && good(wide.answers) && narrow.gone && wide.gone && narrow.after.status === 200 && wide.after.status === 200
  }
}

async function crowd (asked, kind, options) {
  const world = await startWorld({ clients: ['app', 'canary'], ...options })
  try {
    const before = await warm(world)
    const files = world.memory().fds
    const sockets = await openMany(world.port, asked, (socket, n) => { socket.pause(); socket.write(requestText(`GET /api/v1/users/${kind}${n}`, world.keys.app)) })
    await later(5000)
    const answers = await canary(world)
    const inFlight = await metric(world, 'narrowgate_in_flight')
    const grown = peakMb(world.pid) - before
    for (const socket of sockets) socket.destroy()
    const gone = await until(() => world.memory().fds <= files + 30, 20_000) !== undefined
    return { answers, inFlight, grown, gone, after: (await canary(world, 1))[0] }
  } finally { await world.close() }
}

async function metric (world, name) {
  const text = await (await fetch(`${world.adminUrl}/metrics`)).text()
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)`, 'm').exec(text)?.[1] ?? NaN)
}

/** 10,000 connections of which half a body comes (30 s), or half a head, or nothing (10 s); the patient ones first, so that nearly all are there together. */
export async function halfOpen () {
  const shipped = await halves(10_000, { listen: '' })
  const wide = await halves(9900, { listen: WIDE })
  const text = ({ held, grown, answers, longest, gone }) => `${held} at once, + ${mb(grown)} (${(grown * 1024 / held).toFixed(1)} kB each), canary ${JSON.stringify(tally(answers))}, the longest ${longest.toFixed(0)} s, descriptors back: ${gone}`
  return {
    bound: '10,000 half-open; caps as shipped: + 48 MB at most; caps at 10,000: 16 kB each at most; others served; none longer than 30 s and 3 for the check',
    measured: `as shipped: ${text(shipped)}; wide: ${text(wide)}`,
    good: shipped.grown <= 48 && wide.grown * 1024 <= 16 * wide.held && wide.held >= 7500 && [shipped, wide].every(({ answers, longest, gone }) => good(answers) && longest <= 33 && gone)
  }
}

async function halves (count, options) {
  const world = await startWorld({ clients: ['app', 'canary'], ...options })
  try {
    const before = await warm(world)
    const files = world.memory().fds
    let held = 0
    let longest = 0
    const watch = setInterval(() => { held = Math.max(held, world.memory().fds - files) }, 100)
    const [head, body] = ['GET /api/v1/users HTTP/1.1\r\nHost: gate\r\nX-Half: ', requestText('POST /api/v1/users/00u1', world.keys.app, ['Content-Type: application/json', 'Content-Length: 1000'], '{"profile":{"a":"')]
    const sockets = await openMany(world.port, count, (socket, n) => {
      const begun = performance.now()
      socket.resume().once('close', () => { longest = Math.max(longest, (performance.now() - begun) / 1000) })
      if (n < count * 0.7) socket.write(body)
      else if (n % 2 === 0) socket.write(head)
    }, '127.0.0.1', 500)
    await later(300)
    const answers = await canary(world)
    const gone = await until(() => world.memory().fds <= files + 10, 60_000) !== undefined
    clearInterval(watch)
    for (const socket of sockets) socket.destroy()
    return { held, answers, grown: peakMb(world.pid) - before, longest, gone }
  } finally { await world.close() }
}

/** 200 uploads without an end, half of them announcing a length of which half comes: together they get the memory for bodies, one client half of it. */
export async function endlessBodies () {
  const UPLOADS = 200
  const world = await startWorld({ clients: ['app', 'canary'] })
  try {
    const before = await warm(world)
    const statuses = {}
    const chunk = Buffer.concat([Buffer.from('4000\r\n'), Buffer.alloc(16_384, 0x20), Buffer.from('\r\n')])
    let over = 0
    const sockets = await openMany(world.port, UPLOADS, (socket, n) => {
      const chunked = n % 2 === 0
      socket.write(requestText(`POST /api/v1/users/00u${n}`, world.keys.app, ['Content-Type: application/json', chunked ? 'Transfer-Encoding: chunked' : 'Content-Length: 1048576']))
      // Half of what was announced, and no more; or chunks without an end.
      if (!chunked) socket.write(Buffer.alloc(524_288, 0x20))
      const more = () => { if (chunked) while (socket.writable && !socket.destroyed) if (!socket.write(chunk)) break }
      const timer = setInterval(more, 5)
      socket.on('drain', more).once('data', answer => { const status = answer.toString('latin1').slice(9, 12); statuses[status] = (statuses[status] ?? 0) + 1 }).once('close', () => { clearInterval(timer); over++ })
    })
    await later(3000)
    const answers = await canary(world)
    await until(() => over === UPLOADS, 45_000)
    const grown = peakMb(world.pid) - before
    for (const socket of sockets) socket.destroy()
    const { total } = await world.arrived()
    return {
      bound: `${UPLOADS} uploads: + 96 MB at most (bodyMemoryBytes 64 MB, and what the kernel hands over); 413, 503 or closed; none arrives; others served`,
      measured: `+ ${mb(grown)}; ${JSON.stringify(statuses)}; ${over} over; canary ${JSON.stringify(tally(answers))}; ${total - 640 - answers.length} of them arrived`,
      good: grown <= 96 && over === UPLOADS && good(answers) && total - 640 - answers.length === 0 && Object.keys(statuses).every(status => ['413', '503', '408'].includes(status))
    }
  } finally { await world.close() }
}

/** 1 MB of gzip that unpacks to a gigabyte, as an answer and as a refusal that the gate has to look into. */
export async function gzipBomb () {
  const world = await startWorld({ clients: ['app', 'canary'] })
  try {
    const caller = createCaller(world.port, world.keys.app, { sockets: 4 })
    // Answers as large as a bomb is packed leave buffers behind, too: counted from there.
    await Promise.all(Array.from({ length: 40 }, (_, n) => caller.call(`/api/v1/users/page${n}`)))
    const before = await warm(world)
    await world.arrived()
    const passed = await Promise.all(Array.from({ length: 20 }, (_, n) => caller.call(`/api/v1/users/bomb${n}`)))
    const looked = await Promise.all(Array.from({ length: 20 }, (_, n) => caller.call(`/api/v1/users/refused${n}`)))
    caller.close()
    const grown = peakMb(world.pid) - before
    const { bomb } = await world.arrived()
    const unchanged = passed.every(({ status, bytes, headers }) => status === 200 && bytes === bomb && headers['content-encoding'] === 'gzip')
    return {
      bound: '20 bombs as answers, 20 as 401: + 32 MB at most; the answers pass unchanged',
      measured: `+ ${mb(grown)}; ${JSON.stringify(tally(passed))} of ${bomb} bytes, unchanged: ${unchanged}; as 401: ${JSON.stringify(tally(looked))}`,
      good: grown <= 32 && unchanged && looked.every(({ status }) => status === 401 || status === 502)
    }
  } finally { await world.close() }
}
