import { AUTH, http, USER, type Vector } from './vector.js'

const JSON_BODY = '{"profile":{"mobilePhone":"1"}}'
const head = (line: string, ...headers: string[]): string => `${line} HTTP/1.1\r\nHost: gate\r\n${AUTH}\r\n${headers.map(text => `${text}\r\n`).join('')}\r\n`
const post = (...headers: string[]): string => head(`POST ${USER}`, 'Content-Type: application/json', ...headers)
const SMUGGLED = head('DELETE /api/v1/users/smuggled', 'Content-Length: 0')
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`
const CHUNKED = `${chunk(JSON_BODY)}0\r\n\r\n`
const smuggle = (name: string, bytes: string): Vector => ({ name, bytes: bytes + SMUGGLED })
const arrives = [`POST ${USER}`]
const SIZE = String(JSON_BODY.length)

/** Where a body ends: two readings of one request. Behind each stands a request that must never be executed. */
export const framing: readonly Vector[] = [
  { name: 'a chunked body arrives with one length', bytes: post('Transfer-Encoding: chunked') + CHUNKED, arrives, body: JSON_BODY, answers: [200] },
  { name: 'the name of the coding in capitals', bytes: post('Transfer-Encoding: CHUNKED') + CHUNKED, arrives, body: JSON_BODY, answers: [200] },
  { name: 'many small chunks', bytes: `${post('Transfer-Encoding: chunked')}${[...JSON_BODY].map(chunk).join('')}0\r\n\r\n`, arrives, body: JSON_BODY, answers: [200] },
  { name: 'trailers are dropped', bytes: `${post('Transfer-Encoding: chunked')}${chunk(JSON_BODY)}0\r\nX-Trailer: 1\r\nAuthorization: SSWS x\r\n\r\n`, arrives, body: JSON_BODY, answers: [200] },
  { name: 'chunk extensions are dropped', bytes: `${post('Transfer-Encoding: chunked')}${JSON_BODY.length.toString(16)};a=b\r\n${JSON_BODY}\r\n0;c\r\n\r\n`, arrives, body: JSON_BODY, answers: [200] },
  { name: 'leading zeros of a chunk size', bytes: `${post('Transfer-Encoding: chunked')}000${JSON_BODY.length.toString(16)}\r\n${JSON_BODY}\r\n0\r\n\r\n`, arrives, body: JSON_BODY, answers: [200] },
  smuggle('CL.TE', post(`Content-Length: ${SIZE}`, 'Transfer-Encoding: chunked') + CHUNKED),
  smuggle('TE.CL', post('Transfer-Encoding: chunked', 'Content-Length: 4') + CHUNKED),
  smuggle('CL.0 on GET', head(`GET ${USER}`, `Content-Length: ${SMUGGLED.length}`)),
  smuggle('chunked GET', head(`GET ${USER}`, 'Transfer-Encoding: chunked') + '0\r\n\r\n'),
  ...['gzip, chunked', 'chunked, gzip', 'identity', 'identity, chunked', 'chunked, identity', 'chunked, chunked', ', chunked', 'chunked,', 'xchunked', 'chunkedx', 'chunked;q=1', '"chunked"', "'chunked'", 'chun\u00e7ed', 'chunked\x00', '\x0bchunked', 'chunked\x0c', 'cow', '', 'gzip', 'deflate, chunked', 'compress']
    .map(coding => smuggle(`Transfer-Encoding: ${JSON.stringify(coding)}`, post(`Transfer-Encoding: ${coding}`) + CHUNKED)),
  ...['Transfer-Encoding : chunked', 'Transfer-Encoding\t: chunked', ' Transfer-Encoding: chunked', 'Transfer_Encoding: chunked', 'Transfer-Encoding:\r\n chunked', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: cow', 'Transfer-Encoding: cow\r\nTransfer-Encoding: chunked', 'X: y\rTransfer-Encoding: chunked', 'X: y\nTransfer-Encoding: chunked\nContent-Length: 5', 'Transfer-Encoding\x00: chunked', '\x00Transfer-Encoding: chunked']
    .map(line => smuggle(JSON.stringify(line), post(line) + CHUNKED)),
  ...['+31', '-1', '0x1f', '31 ', '31, 31', '31,32', '3 1', '31.0', '3_1', '', ' ', '\x0b31', 'abc', '18446744073709551647', '9'.repeat(40), '١٢'].filter(text => text !== '31 ')
    .map(value => smuggle(`Content-Length: ${JSON.stringify(value)}`, `POST ${USER} HTTP/1.1\r\nHost: gate\r\n${AUTH}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.from(value).toString('latin1')}\r\n\r\n${JSON_BODY}`)),
  ...['Content-Length: 31\r\nContent-Length: 31', 'Content-Length: 31\r\nContent-Length: 0', 'Content-Length: 0\r\nContent-Length: 31', 'Content-Length : 31', 'Content_Length: 31', 'Content-Length:\r\n 31', 'Content-Length: 31\x00']
    .map(line => smuggle(JSON.stringify(line), post(line) + JSON_BODY)),
  ...['xyz', '-1', '+1f', '0x1f', '1f ;x', ' 1f', '', 'fffffffffffffffff', '1f\n', '1g'].map(size => smuggle(`a chunk size of ${JSON.stringify(size)}`, `${post('Transfer-Encoding: chunked')}${size}\r\n${JSON_BODY}\r\n0\r\n\r\n`)),
  // A name that some server takes for another one: for it, the next request is a body.
  ...['Content_Length', 'content_length', 'Content.Length', '~Content-Length', "'Content-Length", 'Content+Length'].map(name => smuggle(`${name} before a request of that size`, post(`${name}: 130`))),
  smuggle('chunked in HTTP/1.0', post('Transfer-Encoding: chunked').replace('HTTP/1.1', 'HTTP/1.0') + CHUNKED),
  smuggle('chunked in HTTP/1.0 that is to be kept alive', post('Connection: keep-alive', 'Transfer-Encoding: chunked').replace('HTTP/1.1', 'HTTP/1.0') + CHUNKED),
  smuggle('a chunk that goes on behind its size', `${post('Transfer-Encoding: chunked')}5\r\n${JSON_BODY}\r\n0\r\n\r\n`),
  smuggle('a chunk extension with a bare LF', `${post('Transfer-Encoding: chunked')}${JSON_BODY.length.toString(16)};\n${JSON_BODY}\r\n0\r\n\r\n`),
  smuggle('a last chunk without its end', `${post('Transfer-Encoding: chunked')}${chunk(JSON_BODY)}0\r\nX`),
  { name: 'a body shorter than its length is never sent on', bytes: post('Content-Length: 500') + SMUGGLED, answers: [] },
  { name: 'a chunked body without an end is never sent on', bytes: post('Transfer-Encoding: chunked') + chunk(JSON_BODY), answers: [] },
  { name: 'a length that hides the next request', bytes: post(`Content-Length: ${SIZE}`) + JSON_BODY + SMUGGLED, arrives, body: JSON_BODY, answers: [200, 403] },
  { name: 'a body over the limit', bytes: `${post('Content-Length: 3000000')}{`, answers: [413] },
  { name: 'a chunked body over the limit', bytes: `${post('Transfer-Encoding: chunked')}180000\r\n${'x'.repeat(0x180000)}\r\n0\r\n\r\n`, answers: [413] },
  { name: 'Expect: 100-continue is met here', bytes: http(`POST ${USER}`, ['Content-Type: application/json', 'Expect: 100-continue'], JSON_BODY), arrives, body: JSON_BODY, answers: [200] },
  { name: 'another expectation', bytes: http(`POST ${USER}`, ['Content-Type: application/json', 'Expect: 417'], JSON_BODY) }
]
