import assert from 'node:assert/strict'
import { ServerResponse, IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import fc from 'fast-check'
import { parseObservation, RESET_HORIZON_MS } from '../../../src/limits/headers.js'
import { originsOf, rewriteLinkHeader, rewriteLocation } from '../../../src/okta/links.js'
import { filterAnswer } from '../../../src/upstream/answer-head.js'
import { anyBytes, bytesOf, type FuzzTarget } from '../target.js'

const origins = originsOf('https://acme.okta.com', 'https://gate.example')
const rewrites = { link: (value: string) => rewriteLinkHeader(value, origins), location: (value: string) => rewriteLocation(value, origins) }
/** security.md "Must do" 8, written down once more. */
const NEVER = /^(?:set-cookie2?|trailer|alt-svc|clear-site-data|keep-alive|te|upgrade|refresh|connection|transfer-encoding|dpop-nonce|access-control-.*|proxy-.*|x-narrowgate-.*|x-accel-.*|x-sendfile.*|x-lighttpd-send.*|x-reproxy-.*)$/i

const NAMES = ['Set-Cookie', 'Set-Cookie2', 'Clear-Site-Data', 'Refresh', 'X-Narrowgate-Request-Id', 'X-Accel-Redirect', 'X-Sendfile', 'X-Reproxy-URL', 'X-LIGHTTPD-send-file', 'Proxy-Connection', 'Trailer', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Link', 'Location', 'Content-Type', 'X-Rate-Limit-Limit', 'X-Rate-Limit-Remaining', 'X-Rate-Limit-Reset', 'X-Okta-Request-Id', 'DPoP-Nonce', 'WWW-Authenticate', 'Access-Control-Allow-Origin', 'Proxy-Authenticate', 'Alt-Svc', 'Keep-Alive', 'TE', 'Upgrade', 'Date', 'ETag', 'X', '', 'a b', 'x:y', '\xe9', '__proto__', 'content-LENGTH', 'Content-Encoding']
const VALUES = ['', '0', '12', '12, 12', '-1', '1e3', '0x10', '99999999999999999999', 'chunked', 'gzip', 'close', 'etag, x', 'content-length', 'keep-alive, link', '<https://acme.okta.com/a>; rel="next"', 'https://acme.okta.com/x', 'https://evil.example', 'a\rb', 'a\nSet-Cookie: x', '\0', '\t', '\x7f', '\xe9', '600', '1795348800', '1795348860', 'nonce"', 'x'.repeat(1100)]
const NOW = 1_795_348_801_000

const line = fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom(...VALUES)).map(([name, value]) => `${name}\x01${value}`)

export const answer: FuzzTarget = {
  name: 'answer',
  property: 'of a head of Okta\'s, node can write whatever passes, hop-by-hop lines, cookies and what Connection names never pass, one framing passes, links lead to the gate, and rate limit headers teach nothing that is out of bounds',
  share: 1.2,
  slowMs: 250,
  structured: fc.oneof({ weight: 8, arbitrary: fc.array(line, { maxLength: 7 }).map(lines => lines.join('\x02')) }, { weight: 1, arbitrary: fc.tuple(anyBytes, line).map(([any, one]) => `${any}\x01${any}\x02${one}`) }),
  corpus: ['Date\x01Thu, 11 Sep 2025 15:51:21 GMT\x02Content-Type\x01application/json\x02Transfer-Encoding\x01chunked\x02Connection\x01keep-alive\x02Set-Cookie\x01sid=""\x02X-Rate-Limit-Limit\x01600\x02X-Rate-Limit-Remaining\x01599\x02X-Rate-Limit-Reset\x011795348860\x02Link\x01<https://acme.okta.com/api/v1/users?limit=200>; rel="self"\x02ETag\x01"x"', 'Content-Length\x0112\x02Connection\x01ETag, X\x02ETag\x01y\x02X\x01z'],
  words: [...NAMES, ...VALUES, '\x01', '\x02'],
  check (input) {
    const raw = input.split('\x02').flatMap(each => { const at = each.indexOf('\x01'); return at < 0 ? [each, ''] : [each.slice(0, at), each.slice(at + 1)] })
    const names = raw.filter((_, i) => i % 2 === 0).map(name => name.toLowerCase())
    const values = raw.filter((_, i) => i % 2 === 1)
    const of = (name: string): string[] => values.filter((_, i) => names[i] === name)
    const head = filterAnswer(raw.map(bytesOf), rewrites)
    const lengths = of('content-length')
    const codings = of('transfer-encoding')
    const framed = lengths.length <= 1 && codings.length <= 1 && lengths.every(value => /^\d{1,15}$/.test(value)) && codings.every(value => value.toLowerCase() === 'chunked') && lengths.length + codings.length <= 1
    assert.equal(head !== undefined, framed, 'framing is judged in another way')
    if (head === undefined) return
    const response = new ServerResponse(new IncomingMessage(new Socket()))
    response.writeHead(200, [...head.lines])
    const nominated = of('connection').flatMap(value => value.toLowerCase().split(',').map(each => each.trim())).filter(name => !['content-length', 'close', 'keep-alive'].includes(name))
    for (let i = 0; i < head.lines.length; i += 2) {
      const [name, value] = [head.lines[i]!, head.lines[i + 1]!]
      assert.ok(!NEVER.test(name), `${name} passes`)
      assert.ok(!nominated.includes(name.toLowerCase()), `${name} passes, though Connection names it`)
      assert.ok(names.includes(name.toLowerCase()), 'a line is made up')
      if (!/^(?:link|location)$/i.test(name)) assert.ok(of(name.toLowerCase()).includes(value), 'a value is another')
    }
    assert.equal(head.length, lengths.length === 0 || /[\x00-\x08\x0a-\x1f\x7f]/.test(lengths[0]!) ? undefined : Number(lengths[0]), 'the length is another') // eslint-disable-line no-control-regex
    assert.equal(head.lengthAt < 0 ? undefined : head.lines[head.lengthAt], lengths[0], 'the length stands elsewhere')
    const seen = parseObservation(200, head.rate.limit, head.rate.remaining, head.rate.reset, NOW)
    if (seen.kind === 'window') assert.ok(seen.remaining >= 0 && seen.remaining <= seen.limit && seen.limit > 0 && seen.resetMs > NOW && seen.resetMs <= NOW + RESET_HORIZON_MS, 'limits out of bounds are believed')
  }
}
