import fc from 'fast-check'
import t from 'tap'
import { rejections, reject, type RejectionCode } from '../../src/domain/rejection.js'
import { errorBody } from '../../src/okta/error-body.js'
import { adminTwin, originsOf, rewriteHrefs, rewriteLinkHeader, rewriteLocation } from '../../src/okta/links.js'

const gate = 'https://gate.example'
const origins = originsOf('https://acme.okta.com', `${gate}/`, ['http://admin-alias.invalid'])

t.test('an org\'s origins', async t => {
  t.same(origins, { orgOrigins: ['https://acme.okta.com', 'https://acme-admin.okta.com', 'http://admin-alias.invalid'], publicOrigin: gate })
  const table: readonly [string, string | undefined][] = [
    ['https://acme.okta.com', 'https://acme-admin.okta.com'],
    ['https://ACME.Okta.com/', 'https://acme-admin.okta.com'],
    ['https://acme.oktapreview.com:443', 'https://acme-admin.oktapreview.com'],
    ['https://acme.okta-emea.com', 'https://acme-admin.okta-emea.com'],
    ['https://acme-admin.okta.com', undefined],
    ['https://login.acme.example', undefined],
    ['https://okta.com', undefined],
    ['https://a.b.okta.com', undefined],
    ['https://acme.okta.com.evil.com', undefined],
    ['http://127.0.0.1:9001', undefined],
    ['http://localhost:9001', undefined]
  ]
  for (const [org, twin] of table) t.equal(adminTwin(org), twin, org)
})

const foreign = [
  'https://acme.okta.com.evil.com/x',
  'https://acme.okta.com@evil.com/x',
  'https://user@acme.okta.com/x',
  'https://acme.okta.com\\@evil.com/x',
  'https://acme.okta.com:8443/x',
  'https://acme.okta.com:80/x',
  'https://acme.okta.com./x',
  'https://xacme.okta.com/x',
  'https://other.okta.com/x',
  'http://acme.okta.com/x',
  'ftp://acme.okta.com/x',
  'https:/acme.okta.com/x',
  'https:acme.okta.com/x',
  '//acme.okta.com/x',
  'https://evil.com/?https://acme.okta.com/x',
  'https://acme.oktacdn.com/fs/bco/1/logo'
]

t.test('Link lines, one at a time', async t => {
  const table: readonly [string, string | undefined][] = [
    ['<https://acme.okta.com/api/v1/users?after=1&limit=2>; rel="next"', `<${gate}/api/v1/users?after=1&limit=2>; rel="next"`],
    ['<https://acme-admin.okta.com/api/v1/iam/roles>; rel="self"', `<${gate}/api/v1/iam/roles>; rel="self"`],
    ['<http://admin-alias.invalid/x>; rel="self"', `<${gate}/x>; rel="self"`],
    ['<https://acme.okta.com:443/x>', `<${gate}/x>`],
    ['<HTTPS://ACME.OKTA.COM/X>', `<${gate}/X>`],
    ['<https://acme.okta.com>', `<${gate}>`],
    ['<https://acme.okta.com?x>', `<${gate}?x>`],
    ['<https://acme.okta.com#x>', `<${gate}#x>`],
    ['<https://acme.okta.com/a>; rel="self", <https://acme.okta.com/b?x=<y>; rel="next"', `<${gate}/a>; rel="self", <${gate}/b?x=%3Cy>; rel="next"`],
    ['<https://acme.okta.com/a>; title="a, b; \\"c\\""; rel=next', `<${gate}/a>; title="a, b; \\"c\\""; rel=next`],
    ['</api/v1/users>; rel="next"', '</api/v1/users>; rel="next"'],
    // A line that some client's parser reads as a link to elsewhere is dropped: Python's requests looks at no quotes.
    ['<https://acme.okta.com/a>; title="<https://acme.okta.com/b>"', undefined],
    ['<https://acme.okta.com/a>; title="x, <https://acme.okta.com/b"', undefined],
    ['<https://acme.okta.com/unclosed', undefined],
    ['title="unclosed <https://acme.okta.com/a>', undefined],
    ['https://acme.okta.com/a; rel=next', undefined],
    ['</a,<https://acme.okta.com/b>; rel=next', '</a,%3Chttps://acme.okta.com/b>; rel=next'],
    ['< https://acme.okta.com/a>; rel=next', undefined],
    ['<https:/acme.okta.com/a>; rel=next', undefined],
    ['</\\acme.okta.com/a>; rel=next', undefined],
    ['<\thttps://acme.okta.com/a>; rel=next', undefined],
    ['<mailto:x>; rel=next', undefined],
    ['', undefined]
  ]
  for (const [value, expected] of table) t.equal(rewriteLinkHeader(value, origins), expected, value)
  for (const url of foreign) {
    const target = /<(.*)>/.exec(rewriteLinkHeader(`<${url}>; rel="next"`, origins) ?? '<>')![1]!
    t.equal(new URL(target, gate).origin, gate, url)
  }
})

t.test('Location is rewritten, kept when relative, else dropped', async t => {
  t.equal(rewriteLocation('https://acme.okta.com/api/v1/apps/0oa1?x=https://evil.com', origins), `${gate}/api/v1/apps/0oa1?x=https://evil.com`)
  t.equal(rewriteLocation('https://acme-admin.okta.com/x', origins), `${gate}/x`)
  for (const relative of ['/api/v1/users/00u1', 'users/00u1', '?after=1', '/x?next=https://acme.okta.com/']) t.equal(rewriteLocation(relative, origins), relative)
  for (const url of [...foreign, '', '/\\evil.com', '\\\\evil.com', '/\t/evil.com', ' //evil.com', 'javascript:alert(1)', 'urn:x', '/\u00e9']) t.equal(rewriteLocation(url, origins), undefined, url)
})

t.test('no Location leads a browser to another host than the gate', async () => {
  const pieces = fc.constantFrom('/', '\\', '//', ':', 'https', 'http', '@', '.', '?', '#', '\t', ' ', 'evil.com', 'acme.okta.com', ':443', '%2f', 'x', 'javascript', '-admin')
  fc.assert(fc.property(fc.array(pieces, { maxLength: 8 }).map(parts => parts.join('')), value => {
    const location = rewriteLocation(value, origins)
    if (location === undefined) return true
    let url: URL
    try { url = new URL(location, `${gate}/api/v1/`) } catch { return true }
    return url.origin === gate
  }), { numRuns: 5000 })
})

t.test('hrefs under _links of /authn answers; everything else byte for byte', async t => {
  const table: readonly [string, string | undefined][] = [
    ['{"_links":{"next":{"href":"https://acme.okta.com/api/v1/authn/x","name":"n"}}}', `{"_links":{"next":{"href":"${gate}/api/v1/authn/x","name":"n"}}}`],
    ['{ "_links" : { "resend" : [ { "href" : "https://acme.okta.com/a" } , {"href":"https://acme-admin.okta.com/b"} ] } }\n', `{ "_links" : { "resend" : [ { "href" : "${gate}/a" } , {"href":"${gate}/b"} ] } }\n`],
    ['{"_embedded":{"factors":[{"id":"1","_links":{"verify":{"href":"https:\\/\\/acme.okta.com\\/v"}}}]}}', '{"_embedded":{"factors":[{"id":"1","_links":{"verify":{"href":"https:\\/\\/gate.example\\/v"}}}]}}'],
    ['{"\\u005flinks":{"a":{"hr\\u0065f":"\\u0068ttps://acme.okta.com/\\u00e9\\n"}}}', `{"\\u005flinks":{"a":{"hr\\u0065f":"${gate}/\\u00e9\\n"}}}`],
    ['{"_links":{"a":{"href":"https://acme.okta.com"}}}', `{"_links":{"a":{"href":"${gate}"}}}`],
    ['{"_links":{"a":{"hints":{"x":["https://acme.okta.com/h"]},"href":"https://acme.okta.com/a"}},"n":1.0e+2}', `{"_links":{"a":{"hints":{"x":["https://acme.okta.com/h"]},"href":"${gate}/a"}},"n":1.0e+2}`],
    // What only a forgiving parser takes for the org's.
    ...['https:/acme.okta.com/a?b#c', 'https:\\\\acme.okta.com/a?b#c', 'https://user@acme.okta.com/a?b#c', '\\thttps://acme.okta.com/a?b#c', 'https://acme.okta.com./a?b#c', 'http://acme.okta.com/a?b#c', '\\/\\/acme.okta.com/a?b#c', 'https://acme.okta.com:8443/a?b#c', 'https://acme%2eokta.com/a?b#c'].map((href): [string, string] => [`{"_links":{"a":{"href":"${href.replace(/^https:\\\\/, 'https:\\\\\\\\')}"}}}`, `{"_links":{"a":{"href":"${gate}/a?b#c"}}}`]),
    // Not under _links, not href, not a string, not ours, not JSON.
    ['{"href":"https://acme.okta.com/a","x":{"href":"https://acme.okta.com/a"}}', undefined],
    ['{"_links":{"a":{"url":"https://acme.okta.com/a"}}}', undefined],
    ['{"_links":{"a":{"href":{"b":"https://acme.okta.com/a"}}}}', undefined],
    ['{"_links":"https://acme.okta.com/a","href":"https://acme.okta.com/a"}', undefined],
    ['{"a":"_links","b":{"href":"https://acme.okta.com/a"}}', undefined],
    ['{"a":"\\"_links\\":{","href":"https://acme.okta.com/a"}', undefined],
    ['{"_links":{"a":{"href":"https://acme.okta.com.evil.com/a"}}}', undefined],
    ['{"_links":{"a":{"href":"https://acme.okta.com/a"}}', undefined],
    ['{"_links":{"a":{"href":"https://acme.okta.com/a"}}} x', undefined],
    ['"https://acme.okta.com"', undefined],
    ['[]', undefined],
    ['', undefined]
  ]
  for (const [json, expected] of table) t.equal(rewriteHrefs(json, origins)?.toString(), expected, json)
  const bytes = Buffer.concat([Buffer.from('{"name":"Zoë \u2028'), Buffer.from([0xff, 0xfe, 0x80]), Buffer.from('","_links":{"a":{"href":"https://acme.okta.com/é"}}}')])
  const expected = Buffer.concat([Buffer.from('{"name":"Zoë \u2028'), Buffer.from([0xff, 0xfe, 0x80]), Buffer.from(`","_links":{"a":{"href":"${gate}/é"}}}`)])
  t.ok(rewriteHrefs(bytes, origins)?.equals(expected), 'bytes that are no UTF-8 stay')
  const big = `[${'{"_links":{"a":{"href":"https://acme.okta.com/aaaaaaaaaaaaaaaaaaaa"}},"t":"\\\\\\""},'.repeat(12_000)}0]`
  t.equal(rewriteHrefs(big, origins)?.toString(), big.replaceAll('https://acme.okta.com', gate), 'a megabyte')
})

t.test('rewriting hrefs equals parsing, rewriting and writing again', async () => {
  const leaf = fc.constantFrom<unknown>('https://acme.okta.com/a', 'https://acme-admin.okta.com/"\\/\u00e9', 'https://evil.com/', 'x', '', 1, null, true)
  const { node } = fc.letrec<{ node: unknown }>(tie => ({
    node: fc.oneof({ depthSize: 'medium' }, leaf, fc.array(tie('node'), { maxLength: 3 }), fc.dictionary(fc.constantFrom('_links', 'href', 'a', 'b"'), tie('node'), { maxKeys: 3 }))
  }))
  const expected = (value: unknown, linked: boolean, key: string): unknown => {
    if (typeof value === 'string') return linked && key === 'href' ? value.replace(/^https:\/\/acme(-admin)?\.okta\.com(?=\/)/, gate) : value
    if (Array.isArray(value)) return value.map(item => expected(item, linked || key === '_links', ''))
    if (value === null || typeof value !== 'object') return value
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, expected(item, linked || key === '_links', name)]))
  }
  fc.assert(fc.property(node, value => {
    const json = JSON.stringify(value)
    return (rewriteHrefs(json, origins)?.toString() ?? json) === JSON.stringify(expected(value, false, ''))
  }), { numRuns: 2000 })
})

t.test('every refusal is Okta\'s error JSON', async t => {
  for (const code of Object.keys(rejections) as RejectionCode[]) {
    const body = JSON.parse(errorBody(reject(code, { causes: ['one', 'two "quoted"'], detail: 'SECRET' }), 'req-1')) as unknown
    t.same(body, {
      errorCode: rejections[code].errorCode,
      errorSummary: rejections[code].message,
      errorLink: rejections[code].errorCode,
      errorId: 'req-1',
      errorCauses: [{ errorSummary: 'one' }, { errorSummary: 'two "quoted"' }]
    })
  }
  t.notMatch(errorBody(reject('internal', { detail: 'SECRET' }), 'x'), /SECRET/)
})
