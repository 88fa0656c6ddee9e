import assert from 'node:assert/strict'
import fc from 'fast-check'
import { MAX_JSON_DEPTH, parseStrictJson } from '../../../src/policy/json.js'
import { anyBytes, bytesOf, pieces, type FuzzTarget } from '../target.js'

const WORDS = ['{', '}', '[', ']', ':', ',', '"a"', '"b"', '"a":', '"\\u0061"', '"__proto__"', '{"__proto__":1}', '"\\u005f_proto__":', '"\\u005f_proto__"', '"constructor"', '""', '"', '\\', '\\"', '\\u', '\\ud800', '\\udc00', '\\ud83d\\ude00', '\\n', '\\x', 'true', 'false', 'null', 'nul', 'NaN', 'Infinity', '0', '-0', '00', '1', '1.5', '1.', '.5', '1e5', '1E+400', '1e-400', '9007199254740991', '9007199254740993', '123456789012345678901234567890', '1.0000000000000000001', '0.1', ' ', '\t', '\n', '\x0b', '\xa0', '\xef\xbb\xbf', '\xc3\xa9', '\xc3', '\xed\xa0\x80', '\xf0\x9f\x98\x80', '\x00', '\x1f', '/', '//', '/**/', "'a'"]
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g

/** What JSON.parse takes and other parsers read in another way, found over its tokens. The text is JSON. */
export function ambiguity (text: string): string | undefined {
  const stack: (Set<string> | undefined)[] = []
  const tokens = text.match(TOKEN) ?? []
  for (const [i, token] of tokens.entries()) {
    if (token === '{' || token === '[') { stack.push(token === '{' ? new Set() : undefined); if (stack.length > MAX_JSON_DEPTH) return 'depth' } else if (token === '}' || token === ']') stack.pop()
    else if (token.startsWith('"')) {
      const string = JSON.parse(token) as string
      if (/\p{Surrogate}/u.test(string)) return 'half a surrogate pair'
      if (tokens[i + 1] !== ':') continue
      if (string === '__proto__') return '__proto__'
      const keys = stack.at(-1)!
      if (keys.has(string)) return 'a key twice'
      keys.add(string)
    } else if (/^[-\d]/.test(token) && !isExact(token)) return 'number'
  }
  return undefined
}

/** A double holds it, to the digits that a double has. */
function isExact (token: string): boolean {
  const value = Number(token)
  if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) return false
  if (token.length > 64) return false
  const digits = token.replace(/[eE].*$/, '').replaceAll(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '')
  return digits.length <= 17 && (value !== 0 || digits === '')
}

const TYPE_WORDS = ['application/json', 'Application/JSON', 'text/plain', 'application/jsonx', 'application/', 'json', ';', '; ', ' ;', 'charset=utf-8', 'charset="utf-8"', 'charset=UTF-8', 'charset=utf-16', 'charset=utf-7', 'charset=', 'charset', '"', ',', ', ', ' ', '\t', '\x0b', 'okta-response=omitCredentials', 'okta-response="a, b"', 'boundary=x', '=', '\0', '\n', 'identity', 'IDENTITY', 'gzip', 'identity, gzip', '\x01']

/** The only type and parameters, read piece by piece: RFC 9110 section 8.3.1 and 5.6.6. */
function isJsonType (type: string): boolean {
  const [name = '', ...parameters] = type.split(';').map(each => each.replaceAll(/^[ \t]+|[ \t]+$/g, ''))
  return !/^[ \t]/.test(type) && name.toLowerCase() === 'application/json' && parameters.every(each => ['charset=utf-8', 'charset="utf-8"'].includes(each.toLowerCase()) || /^okta-response=(?:[a-z]+|"[a-z, ]+")$/i.test(each))
}

/** \x01 stands between the type and the coding. */
export const mediaType: FuzzTarget = {
  name: 'media',
  property: 'a body is read as JSON when its type is application/json in UTF-8, in no coding, and under no other name',
  share: 1,
  slowMs: 250,
  structured: fc.oneof({ weight: 6, arbitrary: pieces(TYPE_WORDS, 6).map(text => `application/json${text}`) }, { weight: 4, arbitrary: pieces(TYPE_WORDS, 6) }, { weight: 1, arbitrary: anyBytes }),
  corpus: ['application/json', 'application/json; charset=utf-8', 'application/json\x01identity', 'application/json;okta-response="omitCredentials, omitCredentialsLinks"', 'application/json; charset=utf-16', 'application/json\x01gzip', 'text/plain'],
  words: TYPE_WORDS,
  check (input) {
    const [type, coding] = input.split('\x01')
    const read = parseStrictJson(Buffer.from('{}'), type, coding)
    const expected = isJsonType(type!) && (coding === undefined || coding.toLowerCase() === 'identity')
    assert.equal(read.kind, expected ? 'json' : 'unjudgeable', `the type is ${expected ? '' : 'not '}JSON's`)
    if (read.kind === 'unjudgeable') assert.equal(read.code, 'unsupported_body', 'another refusal')
    assert.equal(parseStrictJson(Buffer.from('{}'), undefined, coding).kind, 'unjudgeable', 'no type is taken for JSON\'s')
  }
}

export const json: FuzzTarget = {
  name: 'json',
  property: 'a body is read exactly when JSON.parse takes it and it holds no duplicate key, __proto__, byte order mark, bad UTF-8, lone surrogate, number beyond a double or depth over 64; with equal values',
  share: 2,
  slowMs: 500,
  structured: fc.oneof({ weight: 5, arbitrary: pieces(WORDS, 16) }, { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' }).map(value => Buffer.from(JSON.stringify(value)).toString('latin1')) }, { weight: 1, arbitrary: anyBytes }),
  corpus: ['{"profile":{"login":"ada@example.com","firstName":"Ada","n":[1,2.5e3,true,null,"\\u00e9"]},"credentials":{"password":{"value":"x"}}}', '[[[[[]]]]]', `${'['.repeat(64)}${']'.repeat(64)}`, `${'{"a":'.repeat(63)}{}${'}'.repeat(63)}`, '{"a":{"b":1},"c":{"b":2}}', '"\\ud83d\\ude00"', ' -0.0e-5 ', `${'['.repeat(65)}${']'.repeat(65)}`, '\xef\xbb\xbf{}', '{"__proto__":{}}', '{"a":1}{"b":2}', '"\x1f"'],
  words: WORDS,
  check (input) {
    const bytes = bytesOf(input)
    const body = parseStrictJson(bytes, 'application/json; charset=utf-8', undefined)
    if (bytes.length === 0) { assert.equal(body.kind, 'absent'); return }
    let expected: { value: unknown } | undefined
    let why = 'JSON.parse'
    try {
      const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
      const value: unknown = JSON.parse(text)
      const ambiguous = ambiguity(text)
      if (ambiguous === undefined) expected = { value }
      else why = ambiguous
    } catch { /* neither takes it */ }
    if (expected === undefined) assert.equal(body.kind, 'unjudgeable', `read in spite of ${why}`)
    else assert.deepStrictEqual(body, { kind: 'json', value: expected.value }, `not read as JSON.parse reads it: ${body.kind === 'unjudgeable' ? body.why : 'another value'}`)
    if (body.kind === 'unjudgeable') assert.match(body.why, /^[\x20-\x7e]{1,120}$/, 'the reason quotes the body')
  }
}
