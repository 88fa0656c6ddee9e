import assert from 'node:assert/strict'
import { validateHeaderName, validateHeaderValue } from 'node:http'
import fc from 'fast-check'
import { isRejection } from '../../../src/domain/rejection.js'
import { checkRequestHeaders, forwardedHeaders } from '../../../src/upstream/headers.js'
import { anyBytes, type FuzzTarget } from '../target.js'

/** docs/upstreams.md and security.md "Must do" 7, written down once more: what may reach Okta of a client's headers. */
const MAY_PASS = /^(?:accept|accept-language|accept-encoding|content-type|content-encoding|if-match|if-none-match|if-modified-since|prefer|user-agent|x-okta-user-agent-extended|x-okta-retry-for|x-okta-retry-count|oktaaccessgateway-agent)$/i
const ONCE = ['host', 'authorization', 'content-length', 'content-type', 'content-encoding', 'transfer-encoding', 'te', 'expect']

const NAMES = ['Host', 'host', 'Authorization', 'Cookie', 'Connection', 'Content-Length', 'content-length', 'Content-Type', 'Content-Encoding', 'Transfer-Encoding', 'TE', 'Trailer', 'Expect', 'Upgrade', 'DPoP', 'Client-Cert', 'X-Forwarded-For', 'X-HTTP-Method-Override', 'X_Forwarded_For', 'Accept', 'accept', 'Accept-Encoding', 'User-Agent', 'If-Match', 'Prefer', 'X-Okta-User-Agent-Extended', 'X-Okta-Retry-For', 'constructor', '__proto__', 'toString', '', ' Host', 'Host ', 'a:b', 'Proxy-Authorization', 'Forwarded', 'X-Device-Fingerprint', 'OktaAccessGateway-Agent', 'HOST\0', 'K', '\u017fost']
const VALUES = ['', 'x', 'gate', '0', '5', '00', '+5', '5, 5', 'chunked', 'Chunked', 'gzip, chunked', 'chunked,', 'identity', 'keep-alive', 'close', 'close, authorization', 'Accept', ' content-type ', 'te', 'upgrade', 'keep-alive, Upgrade', 'h2c', '100-continue', '100-Continue', '100-continue, x', 'gate:1', '[::1]:8443', '[::1', 'a@b', 'a/b', '[x]', 'a:b', '{}', 'SSWS 00key', 'application/json', 'a\r\nb: c', '\0', '\t', '\x80', 'x'.repeat(300), ',,,', 'Content-Length']

const line = fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom(...VALUES)).map(([name, value]) => `${name}\x01${value}`)

function linesOf (input: string): { method: string, raw: string[] } {
  const [method = '', ...lines] = input.split('\x02')
  return { method, raw: lines.flatMap(each => { const at = each.indexOf('\x01'); return at < 0 ? [each, ''] : [each.slice(0, at), each.slice(at + 1)] }) }
}

/** RFC 3986 section 3.2 without user info: no delimiter but the port's colon, and brackets around an address alone. */
function isHost (value: string): boolean {
  const [, address, name = '', port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/.exec(value) ?? [undefined, undefined, ' ']
  return !/[/?#@[\]\\ "<>^`{|}]/.test(name) && (address === undefined || /^[\da-f:.]+$/i.test(address)) && /^\d*$/.test(port ?? '')
}

export const headers: FuzzTarget = {
  name: 'headers',
  property: 'what is accepted has one framing, one host and one identity, and of it only the allowlist leaves, as it came, in its order, in names and values that node takes; honest requests are accepted',
  share: 3,
  slowMs: 250,
  // \x01 stands between name and value, \x02 between lines: no header holds either and passes.
  structured: fc.oneof({ weight: 8, arbitrary: fc.tuple(fc.constantFrom('GET', 'POST', 'HEAD', 'PUT', ''), fc.array(line, { maxLength: 6 })).map(([method, lines]) => [method, ...lines].join('\x02')) }, { weight: 1, arbitrary: fc.tuple(anyBytes, line).map(([any, one]) => `POST\x02${any}\x02${one}`) }),
  corpus: ['POST\x02Host\x01gate\x02Authorization\x01SSWS ngk_x\x02Content-Type\x01application/json\x02Content-Length\x0112\x02Accept\x01*/*\x02Cookie\x01sid=1\x02Connection\x01keep-alive', 'GET\x02Host\x01gate\x02Accept-Encoding\x01gzip\x02User-Agent\x01okta-sdk/1\x02Authorization\x01Bearer x', 'GET\x02Host\x01g\x02Connection\x01keep-alive, Upgrade\x02Upgrade\x01h2c', 'POST\x02Host\x01g\x02Expect\x01100-continue\x02Content-Length\x0112', 'PUT\x02Host\x01g\x02Transfer-Encoding\x01chunked', `GET\x02Host\x01g${Array.from({ length: 105 }, (_, n) => `\x02X-${n}\x01y`).join('')}`],
  words: [...NAMES, ...VALUES, '\x01', '\x02'],
  check (input) {
    const { method, raw } = linesOf(input)
    const before = [...raw]
    const refusal = checkRequestHeaders(raw, method)
    assert.deepEqual(raw, before, 'the lines were changed')
    const names = raw.filter((_, i) => i % 2 === 0).map(name => name.toLowerCase())
    const values = raw.filter((_, i) => i % 2 === 1)
    const of = (name: string): string[] => values.filter((_, i) => names[i] === name)
    const sound = names.length <= 100 && names.every(name => /^[a-z0-9-]+$/.test(name)) && values.every(value => /^[ -~]*$/.test(value))
    const framed = of('transfer-encoding').every(value => /^chunked$/i.test(value)) && !(of('transfer-encoding').length > 0 && of('content-length').length > 0)
    const single = ONCE.every(name => of(name).length <= 1)
    const bodyless = (method !== 'GET' && method !== 'HEAD') || (of('transfer-encoding').length === 0 && of('content-length').every(value => /^0+$/.test(value)))
    const nominated = of('connection').flatMap(value => value.split(',').map(each => each.trim().toLowerCase()))
    const kept = nominated.every(name => !MAY_PASS.test(name) && name !== 'content-length' && name !== 'transfer-encoding')
    const switched = nominated.includes('upgrade') && of('upgrade').length > 0
    const expected100 = of('expect').every(value => value.toLowerCase() === '100-continue')
    const hosted = of('host').every(isHost)
    const acceptable = sound && framed && single && bodyless && kept && !switched && expected100 && hosted
    if (isRejection(refusal)) {
      for (const cause of refusal.causes) assert.match(cause, /^[\x20-\x7e]{1,140}$/, 'a cause quotes bytes')
      assert.ok(!acceptable, `an honest request is refused: ${refusal.code} ${refusal.causes.join()}`)
      return
    }
    assert.ok(acceptable, `accepted: ${JSON.stringify({ sound, framed, single, bodyless, kept, switched, expected100, hosted })}`)
    for (const identity of [false, true]) {
      const sent = forwardedHeaders(raw, identity)
      const expected = names.flatMap((name, i) => MAY_PASS.test(name) && !(identity && name === 'accept-encoding') ? [raw[i * 2]!, values[i]!] : [])
      if (identity) expected.push('accept-encoding', 'identity')
      assert.deepEqual(sent, expected, 'other headers leave than the allowlist has')
      for (let i = 0; i < sent.length; i += 2) {
        validateHeaderName(sent[i]!)
        validateHeaderValue(sent[i]!, sent[i + 1]!)
      }
    }
  }
}
