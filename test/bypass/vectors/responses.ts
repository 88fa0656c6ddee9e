import { http, USER, type Vector } from './vector.js'

const GET = `GET ${USER}`
const OK = '{"id":"00u1"}'
/** An answer to an allowed GET: what of it may reach the client. */
const answer = (name: string, upstream: string, answers: readonly number[], ...hides: string[]): Vector => ({ name, bytes: http(GET), arrives: [GET], answers, upstream, hides })
const ok = (...headers: string[]): string => `HTTP/1.1 200 OK\r\n${headers.map(line => `${line}\r\n`).join('')}Content-Length: ${OK.length}\r\n\r\n${OK}`

/** Bytes that a broken or hostile server answers with. The client gets a whole answer without them, a 502, or no answer: never half of one that looks whole, and the gate lives on. */
export const responses: readonly Vector[] = [
  ...['Set-Cookie: sid=CANARY', 'Set-Cookie2: CANARY', 'Trailer: CANARY', 'Alt-Svc: h3=":443"; x=CANARY', 'Clear-Site-Data: "CANARY"', 'Access-Control-Allow-Origin: CANARY', 'Access-Control-Allow-Credentials: CANARY', 'Proxy-Authenticate: CANARY', 'Proxy-Connection: CANARY', 'Keep-Alive: timeout=9, CANARY', 'Upgrade: CANARY', 'TE: CANARY', 'DPoP-Nonce: CANARY', 'X-Narrowgate-Request-Id: CANARY', 'X-Accel-Redirect: /CANARY', 'X-Accel-Buffering: CANARY', 'X-Sendfile: /CANARY', 'Refresh: 0; url=https://evil.example/CANARY', 'Connection: x-canary\r\nX-Canary: CANARY']
    .map(line => answer(`dropped: ${line}`, ok(line), [200], 'CANARY')),
  answer('a Link to the org', ok('Link: <http://{upstream}/api/v1/users?after=1>; rel="next"'), [200], '{upstream}'),
  answer('a Location at the org', ok('Location: http://{upstream}/api/v1/users/00u2'), [200], '{upstream}'),
  answer('a redirect is not followed', 'HTTP/1.1 302 Found\r\nLocation: http://{upstream}/api/v1/groups\r\nContent-Length: 0\r\n\r\n', [302], '{upstream}'),
  answer('a redirect elsewhere', 'HTTP/1.1 307 Temporary\r\nLocation: https://evil.example/CANARY\r\nContent-Length: 0\r\n\r\n', [307], 'evil.example'),
  answer('a 401 about the gate', `HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n${'{"errorCode":"E0000011","a":"CANARY"}'.padEnd(40)}`, [502], 'CANARY'),
  ...[
    ['no HTTP', 'SSH-2.0-CANARY\r\n\r\n'], ['HTTP/0.9', '<html>CANARY</html>'], ['status 0', 'HTTP/1.1 000 CANARY\r\nContent-Length: 0\r\n\r\n'], ['status 99', 'HTTP/1.1 099 CANARY\r\nContent-Length: 0\r\n\r\n'], ['status 600', 'HTTP/1.1 600 CANARY\r\nContent-Length: 0\r\n\r\n'], ['status 888', 'HTTP/1.1 888 CANARY\r\nContent-Length: 0\r\n\r\n'], ['status 9999', 'HTTP/1.1 9999 CANARY\r\nContent-Length: 0\r\n\r\n'], ['status abc', 'HTTP/1.1 abc CANARY\r\nContent-Length: 0\r\n\r\n'], ['a negative status', 'HTTP/1.1 -200 CANARY\r\n\r\n'],
    ['101', 'HTTP/1.1 101 Switching\r\nUpgrade: CANARY\r\nConnection: upgrade\r\n\r\nCANARY'], ['17 times 102', `${'HTTP/1.1 102 CANARY\r\n\r\n'.repeat(17)}${ok()}`], ['400 times 103', `${'HTTP/1.1 103 Early Hints\r\nLink: </CANARY>\r\n\r\n'.repeat(400)}${ok()}`], ['100 and the end', 'HTTP/1.1 100 Continue CANARY\r\n\r\n!'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 6\r\n\r\nCANARY'], ['a length list', 'HTTP/1.1 200 OK\r\nContent-Length: 6, 6\r\n\r\nCANARY'], ['a signed length', 'HTTP/1.1 200 OK\r\nContent-Length: +6\r\n\r\nCANARY'], ['a negative length', 'HTTP/1.1 200 OK\r\nContent-Length: -6\r\n\r\nCANARY'], ['a hex length', 'HTTP/1.1 200 OK\r\nContent-Length: 0x6\r\n\r\nCANARY'], ['an empty length', 'HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nCANARY'],
    ['CL and TE', 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nCANARY\r\n0\r\n\r\n'], ['TE and CL', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n6\r\nCANARY\r\n0\r\n\r\n'], ['TE: gzip, chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n6\r\nCANARY\r\n0\r\n\r\n'], ['TE twice', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nCANARY\r\n0\r\n\r\n'], ['TE: identity', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nCANARY'], ['a chunk size that is none', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nCANARY\r\n'],
    ['NUL in a value', 'HTTP/1.1 200 OK\r\nX: CANARY\x00\r\nContent-Length: 0\r\n\r\n'], ['a bare CR', 'HTTP/1.1 200 OK\r\nX: CANARY\rY: 1\r\nContent-Length: 0\r\n\r\n'], ['a space in a name', 'HTTP/1.1 200 OK\r\nX Y: CANARY\r\nContent-Length: 0\r\n\r\n'], ['an empty name', 'HTTP/1.1 200 OK\r\n: CANARY\r\nContent-Length: 0\r\n\r\n'], ['no colon', 'HTTP/1.1 200 OK\r\nCANARY\r\nContent-Length: 0\r\n\r\n'], ['a space before the colon', 'HTTP/1.1 200 OK\r\nContent-Length : 6\r\n\r\nCANARY'], ['40 kB of headers', `HTTP/1.1 200 OK\r\nX: ${'CANARY'.repeat(7000)}\r\nContent-Length: 0\r\n\r\n`], ['3,000 headers', `HTTP/1.1 200 OK\r\n${'X-Many: CANARY-CANARY\r\n'.repeat(3000)}Content-Length: 0\r\n\r\n`]
  ].map(([name, upstream]) => answer(name!, upstream!, [502], 'CANARY')),
  answer('extra bytes behind the answer', `${ok()}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nCANARY`, [200], 'CANARY'),
  answer('16 times 102 are borne', `${'HTTP/1.1 102 CANARY\r\n\r\n'.repeat(16)}${ok()}`, [200], 'CANARY'),
  answer('a reason with a control character', 'HTTP/1.1 200 CAN\x01ARY\r\nContent-Length: 2\r\n\r\n{}', [], 'CAN\x01ARY'),
  // llhttp takes it for HTTP/1.1 and tells nobody: it is framed as such, goes on as such, and what comes behind it counts for nothing.
  answer('HTTP/2.0 on a status line', ok().replace('HTTP/1.1', 'HTTP/2.0'), [200], 'HTTP/2'),
  answer('HTTP/2.0 with extra bytes', `${ok().replace('HTTP/1.1', 'HTTP/2.0')}CANARY`, [200], 'HTTP/2', 'CANARY'),
  answer('bytes outside ASCII in a value', ok('X-Odd: \xff\xfe'), [200]),
  answer('a 204 with a length', 'HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n', [204], 'content-length'),
  { ...answer('a body cut short', 'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\npart', []), cut: true },
  { ...answer('chunks cut short', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n', []), cut: true }
]
