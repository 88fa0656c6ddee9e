// Kills a gate under writes, again and again, and compares what Okta's stand-in received with the audit log.
import { once } from 'node:events'
import { createReadStream, readdirSync } from 'node:fs'
import { Agent, createServer, request } from 'node:http'
import { createInterface } from 'node:readline'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** So long an answer takes, milliseconds: at some hundred writes a second several are under way whenever the gate is killed. */
const ANSWERS_AFTER_MS = 40

/** An upstream that answers every write after a moment, and remembers which it has received. */
export async function startUpstream () {
  const received = new Set()
  const server = createServer((incoming, answer) => {
    if (incoming.method !== 'GET') received.add(incoming.url)
    incoming.resume().on('end', () => { setTimeout(() => { answer.writeHead(200, { 'content-type': 'application/json' }).end('{}') }, ANSWERS_AFTER_MS) })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { received, origin: `http://127.0.0.1:${server.address().port}`, close: () => { server.closeAllConnections(); server.close() } }
}

/**
 * @param {{ start: () => Promise<{ url: string, child: import('node:child_process').ChildProcess }>, key: string, rounds: number, loadMs: number, perSecond: number }} options
 * @returns {Promise<{ answered: number, sent: number }>} writes that were answered 200, and all that were tried
 */
export async function killRounds ({ start, key, rounds, loadMs, perSecond }) {
  let sent = 0
  let answered = 0
  for (let round = 0; round < rounds; round++) {
    const gate = await start()
    const agent = new Agent({ keepAlive: true, maxSockets: 100 })
    const began = Date.now()
    const open = []
    const ask = number => new Promise(resolve => {
      const call = request(`${gate.url}/api/v1/users/r${round}n${number}/lifecycle/deactivate`, { agent, method: 'POST', headers: { authorization: `SSWS ${key}`, 'content-length': 0 } }, answer => {
        if (answer.statusCode === 200) answered++
        answer.resume().on('end', resolve).on('error', resolve)
      })
      call.on('error', resolve).end()
    })
    for (let number = 0; Date.now() - began < loadMs;) {
      for (const due = (Date.now() - began) * perSecond / 1000; number < due; number++) { sent++; open.push(ask(number)) }
      await sleep(2)
    }
    const gone = once(gate.child, 'exit')
    gate.child.kill('SIGKILL')
    await gone
    await Promise.all(open)
    agent.destroy()
  }
  return { answered, sent }
}

/** The audit files of a folder in the order of the chain. */
export function auditFiles (folder, name) {
  const aside = readdirSync(folder).filter(each => each.startsWith(`${name}.`)).sort()
  return [...aside, name].map(each => path.join(folder, each))
}

/** Paths by what the log says of them: intents, and how each ended. */
export async function readOutcomes (files) {
  const intents = new Map()
  const ends = new Map()
  for (const file of files) {
    for await (const line of createInterface({ input: createReadStream(file) })) {
      const event = JSON.parse(line)
      if (event.class_uid !== 6003) continue
      const id = event.metadata.correlation_uid
      if (event.metadata.event_code === 'intent') intents.set(id, event.http_request.url.path)
      else if (event.unmapped.outcome !== 'pending') ends.set(id, event.unmapped.outcome)
    }
  }
  return { intents, ends }
}
