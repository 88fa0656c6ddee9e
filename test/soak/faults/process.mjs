// Faults of the process: signals, reloads, descriptors, clocks.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createCaller, later, openMany, policyText, requestText, startWorld, tally, until } from './world.mjs'

/** SIGTERM with 50 calls in flight, half of them writes, each of which takes Okta two seconds. */
export async function drain () {
  const CALLS = 50
  const world = await startWorld({ limits: ', concurrency: 200' })
  try {
    const caller = createCaller(world.port, world.keys.app, { sockets: CALLS })
    await caller.call('/api/v1/users/00u1')
    const calls = Array.from({ length: CALLS }, (_, n) => caller.call(`/api/v1/users/later${n}`, n % 2 === 1 ? { method: 'POST', body: '{"profile":{"firstName":"Ada"}}' } : {}))
    await later(1000)
    const begun = performance.now()
    world.child.kill('SIGTERM')
    await later(200)
    const refused = await new Promise(resolve => { connect({ port: world.port, host: '127.0.0.1' }).once('error', error => { resolve(error.code) }).once('connect', () => { resolve('connected') }) })
    const answers = await Promise.all(calls)
    await until(() => world.exit !== undefined, 30_000)
    const seconds = world.exit === undefined ? Infinity : (world.exit.at - begun) / 1000
    caller.close()
    const closing = answers.filter(({ headers }) => headers.connection === 'close').length
    const { seen } = await world.arrived()
    const twice = seen.filter(([line, times]) => line.includes('later') && times > 1).length
    return {
      bound: `${CALLS} in flight: all answered, with Connection: close; new connections refused; exit 0 within 25 s; none sent twice`,
      measured: `${JSON.stringify(tally(answers))}, ${closing} with close; a new connection: ${refused}; exit ${world.exit?.code} after ${seconds.toFixed(1)} s; ${twice} twice`,
      good: answers.every(({ status }) => status === 200) && closing === CALLS && refused === 'ECONNREFUSED' && world.exit?.code === 0 && seconds <= 25 && twice === 0
    }
  } finally { await world.close() }
}

/** 50 reloads between two policies, every fifth a file that was cut in half, at 500 calls a second. */
export async function reloads () {
  const [RELOADS, EVERY_MS, PER_SECOND] = [50, 500, 500]
  const world = await startWorld({ limits: ', concurrency: 1000' })
  try {
    const narrow = policyText('app', world.keys.app, '[{ operation: getUser }, { operation: listUsers }]')
    const versions = [narrow, policyText('app', world.keys.app)]
    const caller = createCaller(world.port, world.keys.app, { sockets: 64 })
    await caller.call('/api/v1/users/00u1')
    const calls = []
    const run = { on: true }
    const load = (async () => {
      const begun = performance.now()
      for (let n = 0; run.on; n++) {
        const wait = begun + n * 1000 / PER_SECOND - performance.now()
        if (wait > 1) await later(wait)
        calls.push(caller.call(n % 2 === 0 ? `/api/v1/users/00u${n}` : '/api/v1/groups').then(answer => ({ ...answer, groups: n % 2 === 1 })))
      }
    })()
    for (let n = 0; n < RELOADS; n++) {
      world.write('policies/app.yaml', n % 5 === 4 ? narrow.slice(0, 90) : versions[n % 2])
      world.child.kill('SIGHUP')
      await later(EVERY_MS)
    }
    run.on = false
    await load
    const answers = await Promise.all(calls)
    caller.close()
    const failures = answers.filter(({ status, groups }) => status !== 200 && !(groups && status === 403))
    await until(() => world.events.length >= answers.length, 5000)
    // What each version of the file decided, by the hash that the events carry.
    const decided = new Map()
    for (const { operation, policy, decision } of world.events) if (operation === 'listGroups') decided.set(policy, (decided.get(policy) ?? new Set()).add(decision))
    const mixed = [...decided.values()].filter(({ size }) => size > 1).length
    const metrics = await (await fetch(`${world.adminUrl}/metrics`)).text()
    const count = result => Number(new RegExp(`narrowgate_reloads\\{result="${result}"\\} (\\d+)`).exec(metrics)?.[1] ?? 0)
    return {
      bound: `${RELOADS} reloads at ${PER_SECOND} calls a second: no call fails; each is explained by one version of the policy; what is cut in half is refused`,
      measured: `${answers.length} calls, ${JSON.stringify(tally(answers))}, ${failures.length} failures; ${count('swapped')} swapped, ${count('refused')} refused; ${decided.size} versions decided, ${mixed} in two ways`,
      good: failures.length === 0 && answers.length >= RELOADS * EVERY_MS / 1000 * PER_SECOND * 0.8 && mixed === 0 && decided.size === 2 && count('refused') >= RELOADS / 5
    }
  } finally { await world.close() }
}

/** 64 descriptors, 200 clients that hold on to their connections, some with calls; then one that behaves. */
export async function descriptors () {
  const world = await startWorld({ clients: ['app', 'canary'], wrap: ['bash', '-c', 'ulimit -n 64; exec "$@"', 'narrowgate'] })
  try {
    let turnedAway = 0
    const sockets = await openMany(world.port, 200, (socket, n) => {
      socket.on('data', () => {}).once('close', () => { turnedAway++ })
      if (n % 2 === 0) socket.write(requestText(`GET /api/v1/users/later${n}`, world.keys.app))
    })
    await later(3000)
    const most = world.memory().fds
    for (const socket of sockets) socket.destroy()
    const caller = createCaller(world.port, world.keys.canary)
    const recovered = await until(async () => (await caller.call('/api/v1/users/00u1')).status === 200, 10_000)
    const answers = []
    for (let n = 0; n < 50; n++) answers.push(await caller.call(`/api/v1/users/00u${n}`))
    caller.close()
    return {
      bound: '200 clients on 64 descriptors: the gate lives, never needs its last one, and serves once they are gone',
      measured: `${sockets.length} connected, ${turnedAway} turned away, ${most} of 64 descriptors in use; served again after ${recovered === undefined ? 'NEVER' : `${Math.round(recovered)} ms`}, then ${JSON.stringify(tally(answers))}; ${world.troubles} errors in the log`,
      good: most < 64 && recovered !== undefined && answers.every(({ status }) => status === 200) && world.exit === undefined && world.troubles === 0
    }
  } finally { await world.close() }
}

/** Nobody takes the operators' log any more: its reader stands still, or has gone. Reloads of a bad file fill it far beyond what a pipe holds. */
export async function stderr () {
  const RELOADS = 300
  const ends = []
  for (const kind of ['stands still', 'has gone']) {
    const world = await startWorld()
    try {
      const caller = createCaller(world.port, world.keys.app)
      const read = world.child.stderr.removeAllListeners('data')
      if (kind === 'has gone') read.destroy()
      else read.pause()
      const answers = []
      for (let n = 0; n < RELOADS; n++) {
        world.write('policies/app.yaml', `${policyText('app', world.keys.app)}${'x'.repeat(1000 + n)}: 1\n`)
        world.child.kill('SIGHUP')
        answers.push(await caller.call('/api/v1/users/00u1', n % 2 === 1 ? { method: 'POST', body: '{"profile":{"firstName":"Ada"}}' } : {}))
        await later(30)
      }
      caller.close()
      const begun = performance.now()
      world.child.kill('SIGTERM')
      await until(() => world.exit !== undefined, 30_000)
      ends.push({ kind, answers, code: world.exit?.code, seconds: world.exit === undefined ? Infinity : (world.exit.at - begun) / 1000 })
    } finally { await world.close() }
  }
  return {
    bound: `${RELOADS} reloads of a bad file, with a reader of stderr that stands still, and one that has gone: every call is answered, SIGTERM ends the gate with 0`,
    measured: ends.map(({ kind, answers, code, seconds }) => `${kind}: ${JSON.stringify(tally(answers))}, exit ${code} after ${seconds.toFixed(1)} s`).join('; '),
    good: ends.every(({ answers, code, seconds }) => answers.every(({ status }) => status === 200) && code === 0 && seconds <= 25)
  }
}

const FAKETIME = ['/usr/lib', '/usr/local/lib'].flatMap(folder => existsSync(folder) ? [folder, ...readdirSync(folder).map(name => path.join(folder, name))] : [])
  .map(folder => path.join(folder, 'faketime/libfaketimeMT.so.1')).find(existsSync)

/** The wall clock of the process jumps an hour ahead, then two back (libfaketime), under calls with an allowance of 30 in 60 seconds. */
export async function clockJump () {
  if (FAKETIME === undefined) return { bound: 'the wall clock jumps by an hour', measured: 'libfaketime is not installed (apt-get install faketime): NOT RUN', good: undefined }
  const folder = mkdtempSync(path.join(tmpdir(), 'narrowgate-clock-'))
  const clock = path.join(folder, 'offset')
  writeFileSync(clock, '+0')
  const world = await startWorld({ env: { LD_PRELOAD: FAKETIME, FAKETIME_TIMESTAMP_FILE: clock, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' } })
  try {
    world.write('policies/app.yaml', policyText('app', world.keys.app, '[{ operation: getUser }, { operation: listGroups, rateLimit: 30/min }]'))
    world.child.kill('SIGHUP')
    await later(1500)
    const caller = createCaller(world.port, world.keys.app)
    const tries = async () => { const answers = []; for (let n = 0; n < 40; n++) answers.push(await caller.call('/api/v1/groups')); return answers.filter(({ status }) => status === 200).length }
    const free = async () => { const answers = []; for (let n = 0; n < 20; n++) answers.push(await caller.call('/api/v1/users/00u1')); return answers }
    const passed = [await tries()]
    const others = []
    for (const offset of ['+3600', '-3600', '+0']) {
      writeFileSync(clock, offset)
      await later(1500)
      passed.push(await tries())
      others.push(...await free())
    }
    caller.close()
    const told = world.log.filter(line => line.includes('clock')).length
    return {
      bound: '+ 1 h, - 2 h, + 1 h: 30 of the limited calls pass in all, the others are answered, each jump is in the log',
      measured: `${passed.join(' + ')} limited calls passed; others ${JSON.stringify(tally(others))}; ${told} jumps in the log; ${world.troubles} errors`,
      good: passed.reduce((sum, each) => sum + each, 0) === 30 && others.every(({ status }) => status === 200) && told === 3 && world.troubles === 0
    }
  } finally { await world.close(); rmSync(folder, { recursive: true, force: true }) }
}
