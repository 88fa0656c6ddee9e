import { http, USER, type Vector } from './vector.js'

const LINE = `POST ${USER}`
const GOOD = '{"profile":{"mobilePhone":"1"}}'
const body = (text: string, type = 'Content-Type: application/json', ...more: string[]): Vector => ({ name: `${type}, ${more.join()} ${JSON.stringify(text.slice(0, 60))}`, bytes: http(LINE, [type, ...more], text) })
const arrives = (text: string, type = 'Content-Type: application/json'): Vector => ({ ...body(text, type), arrives: [LINE], body: text, answers: [200] })
const utf16 = (text: string): string => Buffer.from(text, 'utf16le').toString('latin1')

/** Only profile.mobilePhone may be set. What two JSON parsers, or two readings of a media type, would read differently is refused; what passes arrives byte for byte. */
export const bodies: readonly Vector[] = [
  arrives(GOOD), arrives(' {\n "profile" : { "mobilePhone":\t"1" } } '), arrives('{"profile":{"mobilePhone":"\\u0031\\/"}}'), arrives(GOOD, 'Content-Type: application/json; charset=utf-8'), arrives('{"profile":{"mobilePhone":null}}'), { ...arrives(''), name: 'no body sets nothing' }, arrives('{"pr\\u006ffile":{"mobilePhone":"1"}}'),
  ...[
    '{"profile":{"login":"x"}}', '{"profile":{"mobilePhone":"1","login":"x"}}', '{"profile":{"mobilePhone":"1"},"credentials":{"password":{"value":"x"}}}', '{"credentials":{}}', '{"profile":{"mobilePhone":{"x":1}}}', '{"profile":{"mobilePhone":["1"]}}', '[{"profile":{"mobilePhone":"1"}}]', '"x"', '1', 'true',
    // the same key twice, in one spelling or two
    '{"profile":{"mobilePhone":"1"},"profile":{"login":"x"}}', '{"profile":{"login":"x"},"profile":{"mobilePhone":"1"}}', '{"profile":{"mobilePhone":"1","mobilePhone":"2"}}', '{"profile":{"mobilePhone":"1"},"pr\\u006ffile":{"login":"x"}}',
    // other spellings of a key that is not allowed
    '{"profile":{"l\\u006fgin":"x"}}', '{"Profile":{"mobilePhone":"1"}}', '{"profile":{"mobilephone":"1"}}', '{"profile.mobilePhone":"1"}', '{"profile":{"mobilePhone ":"1"}}', '{"profile\\u0000":{}}', '{"__proto__":{"profile":{"mobilePhone":"1"}}}', '{"profile":{"__proto__":{"login":"x"}}}', '{"constructor":{"prototype":{}}}', '{"profile":{"mobilePhone":"1","":1}}',
    // what is no JSON, and some parser takes
    '{profile:{mobilePhone:"1"}}', "{'profile':{'mobilePhone':'1'}}", '{"profile":{"mobilePhone":"1",}}', '{"profile":{"mobilePhone":"1"}}//', '{"profile":{"mobilePhone":"1"}/*,"x":1*/}', '{"profile":{"mobilePhone":"1"}}{"credentials":{}}', `${GOOD}\x00`, `)]}'\n${GOOD}`, '{"profile":{"mobilePhone":NaN}}', '{"profile":{"mobilePhone":01}}', '{"profile":{"mobilePhone":+1}}', '{"profile":{"mobilePhone":.5}}', '{"profile":{"mobilePhone":0x1}}', '{"profile":{"mobilePhone":"\n"}}', '{"profile":{"mobilePhone":"\\x31"}}', '{"profile":{"mobilePhone":"\\ud800"}}', '{"profile":{"mobilePhone":"1"', 'null\x00', '{"profile":{"mobilePhone":1e999}}', '\xa0{"profile":{"mobilePhone":"1"}}', `\x0b${GOOD}`,
    // what is no UTF-8
    `\xef\xbb\xbf${GOOD}`, '{"profile":{"mobilePhone":"\xff"}}', '{"profile":{"mobilePhone":"\xc0\xaf"}}', '{"profile":{"mobilePhone":"\xed\xa0\x80"}}', '{"profile":{"mobilePhone":"\xe9"}}', utf16(GOOD), `\xff\xfe${utf16(GOOD)}`,
    // deep and large
    `${'['.repeat(20_000)}${']'.repeat(20_000)}`, `{"profile":{"mobilePhone":${'{"a":'.repeat(200)}1${'}'.repeat(200)}}}`
  ].map(text => body(text)),
  ...['application/x-www-form-urlencoded', 'text/plain', 'application/xml', 'multipart/form-data; boundary=x', 'application/json\tcharset=utf-8', 'application/json; charset=utf-16', 'application/json; charset=iso-8859-1', 'application/json; charset=utf-7', 'application/json; charset=utf-8; charset=utf-16', 'application/jsonx', 'application/json, text/plain', 'text/json', 'x/y; application/json', 'application/json;charset="utf-16"', ' ', '*/*'].map(type => body(GOOD, `Content-Type: ${type}`)),
  { name: 'no Content-Type', bytes: http(LINE, [], GOOD) },
  ...['gzip', 'deflate', 'br', 'identity, gzip', 'x-gzip', 'zstd', 'compress'].map(coding => body(GOOD, 'Content-Type: application/json', `Content-Encoding: ${coding}`)),
  // {key} becomes 53 characters
  { name: 'the client\'s own key', bytes: http(LINE, ['Content-Type: application/json', 'Content-Length: 83']) + '{"profile":{"mobilePhone":"{key}"}}' },
  { name: 'two Content-Types', bytes: http(LINE, ['Content-Type: application/json', 'Content-Type: text/plain'], GOOD) },
  { name: 'two Content-Encodings', bytes: http(LINE, ['Content-Type: application/json', 'Content-Encoding: identity', 'Content-Encoding: gzip'], GOOD) },
  { name: 'a form that overrides the method', bytes: http(LINE, ['Content-Type: application/x-www-form-urlencoded'], '_method=DELETE') }
]
