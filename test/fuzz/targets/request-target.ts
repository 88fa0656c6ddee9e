import assert from 'node:assert/strict'
import fc from 'fast-check'
import { isRejection } from '../../../src/domain/rejection.js'
import { parseTarget } from '../../../src/domain/target.js'
import { anyBytes, pieces, type FuzzTarget } from '../target.js'

const ORIGIN = 'http://gate.example'
const ALIASES = new Set(['/api/v1/authn/'])
/** What anybody would take: no escape, nothing odd. */
const PLAIN = /^(?:\/[A-Za-z0-9_-]+)+(?:\?[a-z]+=[A-Za-z0-9]*(?:&[a-z]+=[A-Za-z0-9]*)*)?$/
/** RFC 3986, appendix B. */
const REFERENCE = /^(([^:/?#]+):)?(\/\/([^/?#]*))?([^?#]*)(\?([^#]*))?(#(.*))?$/s

const WORDS = ['/', '//', 'api', '/api/v1/users', '/api/v1/users/', '/api/v1/authn/', '00u1', 'me', '.', '..', '%2e', '%2E%2e', '%2f', '%5c', '\\', '%25', '%2525', '%00', '%c3%a9', '%C0%AF', '%ff', '%', '%4', '%zz', '%41', ';', ';a=b', '?', '&', '=', '+', '#', '@', ':', "'", '(', '$', '!', '*', ',', '~', ' ', '%20', '%2b', '%26', '%3d', '[', ']', '%5B', '{', '|', '<', '"', '`', '^', 'http://evil.example', '*', 'a@b.example', 'x'.repeat(600), 'y'.repeat(2500), '\x7f', '\x80', '\r\n']

/** Of several bytes one alone decodes to nothing. */
function decodeURIComponentOr (escape: string): string {
  try { return decodeURIComponent(escape) } catch { return '' }
}

export const requestTarget: FuzzTarget = {
  name: 'target',
  property: 'an accepted target reads the same, byte for byte, for new URL(), URLSearchParams and RFC 3986\'s own expression, and parses to itself; no path has a second spelling; plain ones are accepted',
  share: 5,
  slowMs: 250,
  structured: fc.oneof({ weight: 6, arbitrary: pieces(WORDS).map(text => `/${text}`) }, { weight: 1, arbitrary: pieces(WORDS) }, { weight: 1, arbitrary: anyBytes }),
  corpus: ['/api/v1/users/00u1abcdefghijklmnop?expand=blocks&x=a+b', '/api/v1/users/ada%40example.com/lifecycle/activate?sendEmail=false', '/api/v1/authn/', '/api/v1/users/a%20b/groups', '/api/v1/users/%20a', '/api/v1/users/a%20', '/api/v1/%75sers', '/api/v1/groups?q=eng&limit=2&after=00g1', "/api/v1/logs?filter=a%20eq%20'b'&since=2026-01-01T00:00:00.000Z", '/'],
  words: WORDS,
  check (input) {
    const target = parseTarget(input, ALIASES)
    if (isRejection(target)) {
      for (const cause of target.causes) assert.match(cause, /^[\x20-\x7e]{1,120}$/, 'a cause quotes bytes of the target')
      assert.ok(!PLAIN.test(input) || input.length > 4096, `a plain target is refused: ${target.code} ${target.causes.join()}`)
      return
    }
    assert.equal(target.raw, input, 'raw is not what was received')
    assert.ok(input.length <= 4096 && !/[^\x21-\x7e]|[\\#"<>^`{|}]/.test(input), 'too long, or with a character that no URL has')
    const [path = '', query] = input.split(/\?(.*)/s)
    for (const [escape] of path.matchAll(/%../g)) assert.ok(!/^[\w.~-]$/.test(decodeURIComponentOr(escape)), 'a letter is escaped: the same path has another spelling')
    assert.equal(target.path, path, 'the path is another')
    const url = new URL(ORIGIN + input)
    // The one byte that new URL() escapes and RFC 3986 does not: an apostrophe of the query, the same value either way.
    const expected = query === undefined ? path : `${path}?${query.replaceAll("'", '%27')}`
    assert.equal(url.href, ORIGIN + expected, 'new URL() reads another target')
    assert.equal(url.origin + url.username + url.password + url.hash, ORIGIN, 'new URL() finds another part')
    const [, , scheme, , authority, rfcPath, , , , fragment] = REFERENCE.exec(input)!
    assert.deepEqual([scheme, authority, rfcPath, fragment], [undefined, undefined, path, undefined], 'RFC 3986 reads other parts')
    assert.equal(`/${target.rawSegments.join('/')}`, path, 'the segments are not the path')
    assert.deepEqual(target.segments, target.rawSegments.map(segment => decodeURIComponent(segment)), 'decoded in another way')
    for (const [i, segment] of target.segments.entries()) {
      assert.ok(segment !== '.' && segment !== '..' && (segment !== '' || i === target.segments.length - 1), 'a dot or empty segment')
      assert.ok(!/[\\/%;?#]|[^\x20-\x7e]/.test(segment), 'a segment holds a separator')
      assert.equal(segment.trim(), segment, 'who trims reads another segment')
    }
    const written = (query ?? '').split('&')
    const parameters = target.query.filter((_, i) => written[i] !== '')
    assert.deepEqual(parameters.map(({ name, value }) => [name, value]), [...url.searchParams], 'URLSearchParams reads other parameters')
    for (const [i, piece] of written.entries()) if (/[;[\]]/.test(piece)) assert.ok(target.query[i]!.ambiguous, 'brackets or a semicolon go unnoticed')
    assert.deepEqual(parseTarget(`/${target.rawSegments.join('/')}${query === undefined ? '' : `?${query}`}`, ALIASES), target, 'it does not parse to itself')
  }
}
