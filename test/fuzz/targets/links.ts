import assert from 'node:assert/strict'
import fc from 'fast-check'
import { originsOf, rewriteHrefs, rewriteLinkHeader, rewriteLocation } from '../../../src/okta/links.js'
import { anyBytes, bytesOf, pieces, type FuzzTarget } from '../target.js'

const GATE = 'https://gate.example'
const origins = originsOf('https://acme.okta.com', GATE)
const WORDS = ['https://acme.okta.com', 'https://acme-admin.okta.com', 'https://evil.example', 'HTTPS://ACME.okta.com:443', 'http://acme.okta.com', '//acme.okta.com', 'https:/acme.okta.com', 'https:acme.okta.com', 'https:\\\\acme.okta.com', 'https://user@acme.okta.com', 'https://acme.okta.com.', 'https://acme.okta.com.evil', '/api/v1/users?after=1', '/', '\\', '//', '/\\', '?', '#', '@', ':', ':443', '.', ' ', '\t', '\n', ',', ', ', ';', '; ', 'rel="next"', 'rel=next', '; rel="self"', 'title="', '"', '\\"', '<', '>', '<https://acme.okta.com/api/v1/users?after=1>; rel="next"', '%2f', '\xe9', '\0', 'javascript:', 'x', '=']

const ORG_HOSTS = new Set(['acme.okta.com', 'acme-admin.okta.com'])

/** Where a URL leads whoever resolves it against the gate, and who takes it as it stands. */
function originsFor (url: string): string[] {
  return [undefined, `${GATE}/api/v1/users`].flatMap(base => URL.canParse(url, base) ? [new URL(url, base).origin] : [])
}

/** Three ways in which clients read a Link line: RFC 8288, Python's requests (utils.parse_header_links), an expression. */
const readers: Readonly<Record<string, (value: string) => readonly string[]>> = {
  strict: value => [...value.matchAll(/<([^>]*)>(?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s",;]*))?)*/g)].map(match => match[1]!),
  requests: value => value.trim() === '' ? [] : value.replace(/^[ '"]+|[ '"]+$/g, '').split(/, *</).map(each => each.split(';', 1)[0]!.replace(/^[<> '"]+|[<> '"]+$/g, '')),
  expression: value => [...value.matchAll(/<(.+?)>;\s*rel="?next"?/gs)].map(match => match[1]!)
}

export const link: FuzzTarget = {
  name: 'link',
  property: 'no Link line that passes leads a client elsewhere than to the gate, whichever of three parsers it has; an honest line passes with its path',
  share: 5,
  slowMs: 250,
  structured: fc.oneof({ weight: 5, arbitrary: pieces(WORDS) }, { weight: 4, arbitrary: pieces(WORDS, 6).map(text => `<${text}>; rel="next"`) }, { weight: 1, arbitrary: anyBytes }),
  corpus: ['<https://acme.okta.com/api/v1/users?after=1&limit=2>; rel="next"', '<https://acme.okta.com/a>; rel="self", <https://acme-admin.okta.com/b?x=y>; rel="next"; title="a \\" b"', '</api/v1/users>; rel=next'],
  words: WORDS,
  check (input) {
    const value = rewriteLinkHeader(input, origins)
    const honest = /^<https:\/\/acme\.okta\.com(\/[\w/?&=.-]*)>; rel="(next|self)"$/.exec(input)
    if (honest !== null) assert.equal(value, `<${GATE}${honest[1]}>; rel="${honest[2]}"`, 'an honest line is another')
    if (value === undefined) return
    for (const [reader, read] of Object.entries(readers)) {
      for (const url of read(value)) {
        for (const origin of originsFor(url)) assert.equal(origin, GATE, `a line leads elsewhere for the reader ${reader}: ${value}`)
      }
    }
    assert.equal(rewriteLinkHeader(value, origins), value, 'rewritten twice is another line')
  }
}

export const location: FuzzTarget = {
  name: 'location',
  property: 'no Location that passes leads a client elsewhere than to the gate; an honest one keeps its path',
  share: 4,
  slowMs: 250,
  structured: fc.oneof({ weight: 8, arbitrary: pieces(WORDS, 6) }, { weight: 1, arbitrary: anyBytes }),
  corpus: ['https://acme.okta.com/api/v1/apps/0oa1?x=https://evil.example', '/api/v1/users/00u1', 'users/00u1', '?after=1', 'https://acme-admin.okta.com:443/x#y'],
  words: WORDS,
  check (input) {
    const value = rewriteLocation(input, origins)
    const honest = /^https:\/\/acme(?:-admin)?\.okta\.com(?::443)?(\/[\w/?&=.-]*)$/i.exec(input)
    if (honest !== null) assert.equal(value, GATE + honest[1]!, 'an honest one is another')
    if (URL.canParse(input) && !ORG_HOSTS.has(new URL(input).hostname)) assert.equal(value, undefined, 'one that leads elsewhere is not dropped')
    if (value === undefined) return
    for (const origin of originsFor(value)) assert.equal(origin, GATE, `it leads to ${origin}`)
  }
}

const JSON_WORDS = [...WORDS, '{', '}', '[', ']', ':', ',', '"_links"', '"href"', '"a"', '"_links":{"next":{"href":"', '"}}', '{"_links":{"next":{"href":"https://acme.okta.com/x"}}}', '\\/', '\\u002f', '\\u0068', '\\\\', '\\t', '\\n', '"hr\\u0065f"', '"\\u005flinks"', 'null', '1', '\xff', '\\ud800']

/** Values at `_links … href`, and the rest with these left out. */
function taken (value: unknown, linked: boolean, key: string, hrefs: string[]): unknown {
  if (typeof value === 'string' && linked && key === 'href') { hrefs.push(value); return '' }
  if (Array.isArray(value)) return value.map(item => taken(item, linked || key === '_links', '', hrefs))
  if (typeof value !== 'object' || value === null) return value
  return Object.entries(value).map(([name, member]) => [name, taken(member, linked || key === '_links', name, hrefs)])
}

export const hrefs: FuzzTarget = {
  name: 'hrefs',
  property: 'no href under _links of an answer leads to the org, however it is spelt; everything else of the answer is what it was',
  share: 1,
  slowMs: 500,
  structured: fc.oneof(
    { weight: 4, arbitrary: pieces(JSON_WORDS, 8).map(text => `{"_links":{"next":{"href":"${text}"}}}`) },
    { weight: 2, arbitrary: pieces(WORDS, 6).map(text => `{"x":[{"_links":{"a":[{"href":${JSON.stringify(text)}}]}}]}`) },
    { weight: 2, arbitrary: pieces(JSON_WORDS) },
    { weight: 1, arbitrary: anyBytes }
  ),
  corpus: ['{"stateToken":"x","_embedded":{"factors":[{"_links":{"verify":{"href":"https://acme.okta.com/api/v1/authn/factors/x/verify","hints":{"allow":["POST"]}}}}]},"_links":{"cancel":{"href":"https:\\/\\/acme.okta.com\\/api\\/v1\\/authn\\/cancel"},"resend":[{"href":"https://acme-admin.okta.com/r"}]}}', '{"_links":{"a":{"href":"https://evil.example/"}}}'],
  words: JSON_WORDS,
  check (input) {
    const out = rewriteHrefs(bytesOf(input), origins)
    const text = out?.toString('latin1') ?? input
    let before: unknown
    try { before = JSON.parse(input) } catch { assert.equal(out, undefined, 'something was rewritten that is no JSON'); return }
    const [was, is]: [string[], string[]] = [[], []]
    const rest = taken(before, false, '', was)
    assert.deepEqual(taken(JSON.parse(text), false, '', is), rest, 'more was changed than hrefs')
    for (const [i, href] of is.entries()) {
      for (const base of [undefined, `${GATE}/api/v1/authn`]) {
        if (URL.canParse(href, base)) assert.ok(!ORG_HOSTS.has(new URL(href, base).hostname.replace(/\.$/, '')), `an href leads to the org: ${href}`)
      }
      const honest = /^https:\/\/acme\.okta\.com(\/[\w/?&=.-]*)$/.exec(was[i]!)
      if (honest !== null) assert.equal(href, GATE + honest[1]!, 'an honest href is another')
    }
  }
}
