import { existsSync } from 'node:fs'
import t from 'tap'
import { narrowgate } from './shell.js'

interface Call { name: string, status: number, reached: number, expected: boolean, note?: string }
interface Outcomes { expected: boolean, allowed: Call[], refused: Call[], keptOut: Call[], limited: { sent: number, passed: number, allowance: number, drawn: number, expected: boolean }, leaks: string[] }

t.test('the demo shows what was allowed, refused and limited, and ends with 0', async t => {
  const { code, out } = await narrowgate(['demo', '--once', '--json'], { now: Date.now() })
  const { allowed, refused, keptOut, limited, leaks, expected } = JSON.parse(out) as Outcomes
  const surprises = [...allowed, ...refused, ...keptOut].filter(call => !call.expected)
  t.strictSame(surprises, [])
  t.equal(allowed.length, 48)
  t.equal(refused.length, 40)
  t.ok(refused.every(call => call.reached === 0 && [403, 405].includes(call.status)))
  t.ok(keptOut.length >= 10)
  t.equal(limited.passed, limited.allowance)
  t.ok(limited.sent > limited.passed)
  t.equal(limited.drawn, 0, 'the gate never draws a 429')
  t.strictSame(leaks, [])
  t.equal(expected, true)
  t.equal(code, 0)
})

t.test('without --once it stays up, for who wants to try, until it is told to stop', async t => {
  const stop = new AbortController()
  let seen = ''
  const ended = narrowgate(['demo'], {
    now: Date.now(),
    stop: stop.signal,
    onErr: text => {
      seen += text
      if (text.includes('Up until')) tryIt().then(() => { stop.abort() }, (error: unknown) => { t.fail(String(error)); stop.abort() })
    }
  })
  async function tryIt (): Promise<void> {
    const key = /KEY=(\S+)/.exec(seen)![1]!
    const url = /(http:\/\/\S+\/api\/v1\/users\/\w+)/.exec(seen)![1]!
    const authorization = `SSWS ${key}`
    t.equal((await fetch(url, { headers: { authorization } })).status, 200)
    t.equal((await fetch(url, { method: 'DELETE', headers: { authorization } })).status, 403)
    t.equal((await fetch(/(http:\/\/\S+\/readyz)/.exec(seen)![1]!)).status, 200)
    t.ok(existsSync(/-c (\S+)/.exec(seen)![1]!))
  }
  const { out } = await ended
  t.match(out, /Allowed: the 48 operations[^]*Refused: 40 other[^]*Kept out[^]*Limited[^]*Summary/)
  t.notOk(existsSync(/-c (\S+)/.exec(seen)![1]!), 'its folder is gone')
})
