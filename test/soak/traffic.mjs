// The soak's clients: raw sockets with keep-alive, one request at a time on each.
import { connect } from 'node:net'
import { fastKinds, slowKinds } from './kinds.mjs'

/** Longer than any time-out of the gate: an answer that has not come by then will not come. */
const NO_ANSWER_MS = 75_000

/** What the gate answers when client, upstream or it itself gets no CPU for seconds. */
const STARVED = new Set([408, 502, 504])

/** mulberry32: the same seed gives the same requests on each connection. */
export function random (seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

function picker (kinds, next) {
  const wheel = kinds.flatMap(kind => Array.from({ length: kind.weight }, () => kind))
  return () => wheel[Math.floor(next() * wheel.length)]
}

/** One client connection, opened again whenever it has ended. */
class Wire {
  #port
  #socket
  #head = ''
  #expected = -1
  #seen = 0
  #bodyless = false
  #settle
  received = 0
  onByte
  /** no answer has come for so long that none will */
  onSilence

  constructor (port) { this.#port = port }

  async open () {
    if (this.#socket !== undefined && this.#socket.readyState === 'open') return
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true })
    this.#socket = socket
    await new Promise((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
    socket.on('data', chunk => { this.#data(chunk) })
    socket.on('error', () => {})
    // `end` after an answer to the end of the connection; `close` after a reset.
    socket.once('end', () => { if (this.#socket === socket) this.#ended() })
    socket.once('close', () => { if (this.#socket === socket) this.#ended() })
  }

  /** Sends; answers the status, or undefined when the connection ends without a whole answer. */
  answerTo (bytes, bodyless = false) {
    const settled = this.expect(bodyless)
    this.#socket.write(bytes)
    return settled
  }

  expect (bodyless = false) {
    this.#head = ''
    this.#expected = -1
    this.#seen = 0
    this.received = 0
    this.#bodyless = bodyless
    return new Promise(resolve => {
      const timer = setTimeout(() => { this.onSilence?.(); this.drop(true) }, NO_ANSWER_MS)
      this.#settle = status => { clearTimeout(timer); this.#settle = undefined; resolve(status) }
    })
  }

  write (bytes) { if (this.#socket.writable) this.#socket.write(bytes, 'latin1') }

  pause () { this.#socket.pause() }

  resume () { this.#socket.resume() }

  half () { this.#socket.end() }

  drop (reset = false) {
    const socket = this.#socket
    this.#socket = undefined
    if (socket === undefined) { /* it has ended by itself */ } else if (reset) socket.resetAndDestroy()
    else { socket.end(); socket.resume(); socket.destroySoon() }
    this.#settle?.(undefined)
  }

  #data (chunk) {
    this.received += chunk.length
    this.onByte?.()
    if (this.#settle === undefined) return
    if (this.#expected < 0) {
      this.#head += chunk.toString('latin1')
      const end = this.#head.indexOf('\r\n\r\n')
      if (end < 0) return
      const length = /\r\ncontent-length: (\d+)/i.exec(this.#head.slice(0, end))
      this.#expected = end + 4 + (this.#bodyless ? 0 : Number(length?.[1] ?? 0))
      this.#seen = this.#head.length
    } else this.#seen += chunk.length
    if (this.#seen < this.#expected) return
    const settle = this.#settle
    settle(Number(this.#head.slice(9, 12)))
    // What announces its end gets no other request.
    if (/\r\nconnection: close/i.test(this.#head)) this.drop()
  }

  #ended () {
    this.#socket?.destroy()
    this.#socket = undefined
    this.#settle?.(undefined)
  }
}

const later = ms => new Promise(resolve => { setTimeout(resolve, ms) })

/**
 * Sends until `requests` have gone out or `until` is reached.
 *
 * @returns counts: `sent`, `groups` by kind, `statuses` as clients saw them, `unexpected` with examples
 */
export async function drive ({ port, key, limitedKey, requests, until, seed, fast, slow, onSilence }, figures) {
  const goesOn = () => figures.sent < requests && Date.now() < until && figures.unexpected < 100
  const note = (kind, status, expected, sample) => {
    figures.groups[kind] = (figures.groups[kind] ?? 0) + 1
    if (status !== undefined) figures.statuses[status] = (figures.statuses[status] ?? 0) + 1
    else figures.unanswered++
    if (expected !== undefined && (status === undefined || !expected.includes(status))) {
      if (STARVED.has(status)) { figures.starved++; return }
      figures.unexpected++
      if (figures.examples.length < 10) figures.examples.push(`${kind}: ${status ?? 'no answer'} instead of ${expected.join(' or ')} to ${JSON.stringify(sample.toString('latin1').slice(0, 160))}`)
    }
  }

  const runFast = async n => {
    const next = random(seed * 1000 + n)
    const pick = picker(fastKinds({ key, limitedKey }), next)
    const wire = new Wire(port)
    wire.onSilence = onSilence
    while (goesOn()) {
      const kind = pick()
      const bytes = kind.requests[Math.floor(next() * kind.requests.length)]
      await wire.open()
      figures.sent++
      note(kind.group, await wire.answerTo(bytes, bytes[0] === 0x48), kind.status, bytes)
    }
    wire.drop()
  }

  const runSlow = async n => {
    const next = random(seed * 1000 + 500 + n)
    const pick = picker(slowKinds({ key }), next)
    const wire = new Wire(port)
    wire.onSilence = onSilence
    while (goesOn()) {
      const kind = pick()
      await wire.open()
      figures.sent++
      const settled = wire.expect()
      for (const [i, step] of kind.steps.entries()) {
        if (i > 0) await later(5 + next() * 20)
        wire.write(step)
      }
      if (kind.reader === 'slow') { wire.pause(); await later(100 + next() * 200); wire.resume() }
      if (kind.leave !== undefined) await leave(wire, kind.leave, next)
      const status = await settled
      if (kind.cut) note(kind.group, status, undefined, '')
      else note(kind.group, status, kind.status, kind.steps.join(''))
    }
    wire.drop()
  }

  await Promise.all([...Array.from({ length: fast }, (_, n) => runFast(n)), ...Array.from({ length: slow }, (_, n) => runSlow(n))])
}

async function leave (wire, how, next) {
  switch (how) {
    case 'at once': wire.drop(); return
    case 'wait': await later(5 + next() * 30); wire.drop(); return
    case 'half closed': wire.half(); return
    default:
      await new Promise(resolve => { wire.onByte = resolve; if (wire.received > 0) resolve() })
      wire.onByte = undefined
      wire.drop(how.startsWith('reset'))
  }
}
