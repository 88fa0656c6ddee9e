import fc from 'fast-check'
import t from 'tap'
import { filterAnswer } from '../../src/upstream/answer-head.js'
import { checkRequestHeaders, forwardedHeaders } from '../../src/upstream/headers.js'

const PASSING = [
  'Accept', 'Accept-Language', 'Accept-Encoding', 'Content-Type', 'Content-Encoding', 'If-Match', 'If-None-Match',
  'If-Modified-Since', 'Prefer', 'User-Agent', 'X-Okta-User-Agent-Extended', 'X-Okta-Retry-For', 'X-Okta-Retry-Count',
  'OktaAccessGateway-Agent'
]
const STAYING = [
  'Authorization', 'Cookie', 'DPoP', 'X-Forwarded-For', 'Forwarded', 'X-Forwarded-Host', 'X-HTTP-Method-Override',
  'Connection', 'Keep-Alive', 'TE', 'Expect', 'Trailer', 'Upgrade', 'Host', 'Content-Length', 'Transfer-Encoding',
  'Proxy-Authorization', 'X-Device-Fingerprint', 'Origin', 'Referer', 'X-Narrowgate-Request-Id', '__proto__', 'constructor'
]

t.test('request headers that pass keep their name, value, order and lines', async t => {
  const raw = PASSING.flatMap(name => [name, `v ${name}`])
  t.same(forwardedHeaders(raw), raw)
  t.same(forwardedHeaders(['ACCEPT', 'a', 'accept', 'b']), ['ACCEPT', 'a', 'accept', 'b'])
  t.same(forwardedHeaders(['Accept', 'a', 'Accept-Encoding', 'gzip'], true), ['Accept', 'a', 'accept-encoding', 'identity'])
})

t.test('no other request header ever passes', async t => {
  for (const name of STAYING) t.same(forwardedHeaders([name, 'x', name.toLowerCase(), 'y']), [], name)
  const allowed = new Set(PASSING.map(name => name.toLowerCase()))
  const line = fc.tuple(fc.oneof(fc.string(), fc.constantFrom(...STAYING, ...PASSING)), fc.string())
  fc.assert(fc.property(fc.array(line), fc.boolean(), (lines, identity) => {
    const sent = forwardedHeaders(lines.flat(), identity)
    return sent.every((text, index) => index % 2 === 1 || allowed.has(text.toLowerCase()))
  }))
})

t.test('requests whose headers two parsers could read in different ways are refused', async t => {
  const refused: [string, string, string[]][] = [
    ['an underscore', 'bad_header', ['X_Forwarded_For', '1']],
    ['an empty name', 'bad_header', ['', '1']],
    ['a name with a dot', 'bad_header', ['a.b', '1']],
    ['two Hosts', 'bad_header', ['Host', 'a', 'host', 'a']],
    ['two Authorizations', 'bad_header', ['Authorization', 'a', 'authorization', 'a']],
    ['two Content-Types', 'bad_header', ['Content-Type', 'a', 'Content-type', 'b']],
    ['two Content-Encodings', 'bad_header', ['Content-Encoding', 'a', 'Content-Encoding', 'a']],
    ['two TEs', 'bad_header', ['TE', 'trailers', 'te', 'trailers']],
    ['two Content-Lengths, even equal ones', 'bad_framing', ['Content-Length', '1', 'content-length', '1']],
    ['two Transfer-Encodings', 'bad_framing', ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked']],
    ['gzip, chunked', 'bad_framing', ['Transfer-Encoding', 'gzip, chunked']],
    ['identity', 'bad_framing', ['Transfer-Encoding', 'identity']],
    [', chunked', 'bad_framing', ['Transfer-Encoding', ', chunked']],
    ['length and chunked', 'bad_framing', ['Content-Length', '1', 'Transfer-Encoding', 'chunked']],
    ['obs-text', 'bad_header', ['User-Agent', 'caf\u00e9']],
    ['a tab', 'bad_header', ['Content-Type', 'application/json\t']],
    ['a NUL', 'bad_header', ['Accept', 'a\0b']],
    ['Connection naming Content-Type', 'bad_header', ['Connection', 'close, Content-Type']],
    ['Connection naming Content-Length', 'bad_header', ['Connection', 'content-length']],
    ['a Host that is none', 'bad_header', ['Host', 'a@b']],
    ['two Expects', 'bad_header', ['Expect', '100-continue', 'expect', '100-continue']],
    ['an Expect of more than 100-continue', 'bad_header', ['Expect', '100-continue, x']],
    ['an upgrade', 'bad_framing', ['Upgrade', 'h2c', 'Connection', 'keep-alive, Upgrade']],
    ['101 lines', 'bad_header', Array.from({ length: 101 }, (_, i) => [`X-${i}`, '']).flat()]
  ]
  for (const [what, code, raw] of refused) t.match(checkRequestHeaders(raw), { code }, what)
  t.match(checkRequestHeaders(['Content-Length', '5'], 'GET'), { code: 'bad_framing' }, 'a GET with a body')
  t.match(checkRequestHeaders(['Transfer-Encoding', 'chunked'], 'GET'), { code: 'bad_framing' }, 'a chunked GET')
})

t.test('ordinary requests are accepted', async t => {
  t.equal(checkRequestHeaders([]), undefined)
  t.equal(checkRequestHeaders(['Transfer-Encoding', 'Chunked'], 'POST'), undefined)
  t.equal(checkRequestHeaders(['Content-Length', '0'], 'GET'), undefined)
  t.equal(checkRequestHeaders(['Connection', 'keep-alive, Upgrade, X-Trace']), undefined)
  t.equal(checkRequestHeaders(['Upgrade', 'h2c', 'Connection', 'keep-alive']), undefined)
  t.equal(checkRequestHeaders(['Host', '[::1]:8443', 'Expect', '100-Continue']), undefined)
  t.equal(checkRequestHeaders(['Cookie', 'a', 'Cookie', 'b', 'Accept', 'x', 'Accept', 'y']), undefined)
  t.equal(checkRequestHeaders(Array.from({ length: 100 }, (_, i) => [`X-${i}`, 'é'.slice(1)]).flat()), undefined)
})

const keep = { link: (value: string) => value, location: (value: string) => value as string | undefined }
const raw = (...texts: string[]): Buffer[] => texts.map(text => Buffer.from(text, 'latin1'))

t.test('response lines pass as they came, each on its own', async t => {
  const lines = ['cOnTent-Type', 'text/plain; x', 'Link', '<https://o/1>; rel="self"', 'Link', '<https://o/2>; rel="next"', 'X-Odd', 'caf\u00e9\ttab', 'Content-Length', '7']
  const head = filterAnswer(raw(...lines), keep)
  t.same(head?.lines, lines)
  t.match(head, { length: 7, lengthAt: 9, contentType: 'text/plain; x' })
})

t.test('Link and Location are rewritten line by line, and a dropped Location is gone', async t => {
  const rewrites = { link: (value: string) => value.replace('okta', 'gate'), location: (value: string) => value.startsWith('https://okta') ? 'https://gate/x' : undefined }
  t.same(filterAnswer(raw('link', '<okta/1>', 'Link', '<okta/2>', 'Location', 'https://okta/x'), rewrites)?.lines, ['link', '<gate/1>', 'Link', '<gate/2>', 'Location', 'https://gate/x'])
  t.same(filterAnswer(raw('Location', 'https://cdn/x'), rewrites)?.lines, [])
})

t.test('cookies, CORS, hop-by-hop and broken lines never reach the client', async t => {
  const gone = ['Set-Cookie', 'SET-COOKIE', 'Set-Cookie2', 'Trailer', 'Alt-Svc', 'Clear-Site-Data', 'DPoP-Nonce', 'Access-Control-Allow-Origin', 'Access-Control-Max-Age', 'Keep-Alive', 'TE', 'Upgrade', 'Proxy-Authenticate', 'Proxy-Connection', 'Connection', 'X-Narrowgate-Request-Id', 'X-Accel-Redirect', 'X-Sendfile', 'Refresh', 'na me', 'caf\u00e9']
  for (const name of gone) t.same(filterAnswer(raw(name, 'x', 'A', 'b'), keep)?.lines, ['A', 'b'], name)
  t.same(filterAnswer(raw('A', 'x\ry', 'B', 'x\0', 'C', '\x7f', 'D', 'ok'), keep)?.lines, ['D', 'ok'])
  t.same(filterAnswer(raw('X-Hop', '1', 'Content-Length', '3', 'Connection', 'close, x-hop, content-length', 'A', 'b'), keep), { lines: ['Content-Length', '3', 'A', 'b'], rate: {}, lengthAt: 1, length: 3 })
  t.same(filterAnswer(raw('Transfer-Encoding', 'chunked', 'A', 'b'), keep)?.lines, ['A', 'b'])
})

t.test('an answer whose length is uncertain is none', async t => {
  for (const lines of [['Content-Length', '1', 'Content-Length', '1'], ['Content-Length', '1', 'Transfer-Encoding', 'chunked'], ['Content-Length', '+1'], ['Content-Length', '1, 1'], ['Transfer-Encoding', 'gzip, chunked'], ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked']]) {
    t.equal(filterAnswer(raw(...lines), keep), undefined, lines.join(' '))
  }
})

t.test('the facts for the limiter are read on the way', async t => {
  const head = filterAnswer(raw('x-rate-limit-limit', '600', 'X-Rate-Limit-Remaining', '599', 'X-RATE-LIMIT-RESET', '1700000000', 'Date', 'd', 'X-Okta-Request-Id', 'aZ', 'Content-Encoding', 'gzip'), keep)
  t.match(head, { rate: { limit: '600', remaining: '599', reset: '1700000000' }, date: 'd', oktaRequestId: 'aZ', contentEncoding: 'gzip' })
  t.match(filterAnswer(raw('X-Rate-Limit-Limit', '600', 'X-Rate-Limit-Limit', '5'), keep), { rate: { limit: '600, 5' } }, 'two lines: which applies nobody knows')
})
