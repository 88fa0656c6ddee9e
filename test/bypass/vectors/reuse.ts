import { AUTH, http, USER, type Vector } from './vector.js'

const GET = `GET ${USER}`
const anonymous = (line: string): string => `${line} HTTP/1.1\r\nHost: gate\r\n\r\n`
const DELETED = http(`DELETE ${USER}`)
/** As the body of another: a placeholder would change its length. */
const inner = (bytes: string): string => bytes.replaceAll('{key}', 'ngk_other')
const closing = http(GET, ['Connection: close'])

/** What stands behind a request on its connection: judged by itself, or never read. */
export const reuse: readonly Vector[] = [
  { name: 'two that are allowed', bytes: http(GET) + http(`${GET}/groups`), arrives: [GET, `${GET}/groups`], answers: [200, 200] },
  { name: 'allowed, then not', bytes: http(GET) + DELETED, arrives: [GET], answers: [200, 403] },
  { name: 'not, then allowed', bytes: DELETED + http(GET), arrives: [GET], answers: [403, 200] },
  { name: 'with a key, then without', bytes: http(GET) + anonymous(GET), arrives: [GET], answers: [200, 401] },
  { name: 'without a key, then with', bytes: anonymous(GET) + http(GET), arrives: [GET], answers: [401, 200] },
  { name: 'empty lines between', bytes: `${http(GET)}\r\n\r\n${http(GET)}`, arrives: [GET, GET], answers: [200, 200] },
  { name: 'garbage behind an allowed one', bytes: `${http(GET)}G@RBAGE\r\n\r\n`, arrives: [GET], answers: [] },
  { name: 'garbage, then an allowed one', bytes: `\x01\x02\x03\r\n\r\n${http(GET)}` },
  { name: 'behind Connection: close nothing is read', bytes: closing + DELETED, arrives: [GET], answers: [] },
  { name: 'behind Connection: close an allowed one is not read either', bytes: closing + http(`${GET}/groups`), arrives: [GET], answers: [] },
  { name: 'behind HTTP/1.0 nothing is read', bytes: http(GET).replace('HTTP/1.1', 'HTTP/1.0') + DELETED, arrives: [GET], answers: [] },
  { name: 'behind HTTP/1.0 that asks to be kept alive nothing is read', bytes: http(GET, ['Connection: keep-alive']).replace('HTTP/1.1', 'HTTP/1.0') + http(`${GET}/groups`), arrives: [GET], answers: [200] },
  ...['X_A: 1', 'X.A: 1', 'X: \xe9', 'Host: other', 'Host: a/b', AUTH, 'Connection: accept', 'Expect: 100-continue, x'].map(line => ({ name: `behind a head that is refused nothing is read: ${line}`, bytes: http(GET, [line]) + http(`${GET}/groups`) })),
  // Sixteen of a stranger's go on in a turn of the event loop, the seventeenth waits; a client's own turn comes sooner.
  { name: 'behind a refused head that waits for its turn nothing is read', bytes: anonymous(GET).repeat(16) + anonymous(GET).replace('Host: gate', 'Host: gate\r\nX_A: 1') + http(GET), answers: [...Array.from({ length: 16 }, () => 401), 400] },
  { name: 'what stands before a refused head is answered, though it waits for its turn', bytes: http(GET).repeat(40) + http(GET, ['X_A: 1']) + http(`${GET}/groups`), arrives: Array.from({ length: 40 }, () => GET), answers: [...Array.from({ length: 40 }, () => 200), 400] },
  { name: 'behind a head without Host nothing is read', bytes: `${GET} HTTP/1.1\r\n${AUTH}\r\n\r\n${http(GET)}` },
  { name: 'behind another version nothing is read', bytes: http(GET).replace('HTTP/1.1', 'HTTP/2.0') + http(GET) },
  { name: 'behind bad framing nothing is read', bytes: http(`POST ${USER}`, ['Transfer-Encoding: cow']) + http(GET) },
  { name: 'behind a bad target the next is judged by itself', bytes: http(`${GET}/..`) + http(GET), arrives: [GET], answers: [400, 200] },
  { name: 'a body that holds a request', bytes: http(`POST ${USER}`, ['Content-Type: application/json'], inner(DELETED)) + http(GET), arrives: [GET], answers: [400, 200] },
  { name: 'the body of a refused call holds a request', bytes: http(`POST ${USER}/groups`, ['Content-Type: application/json'], inner(http(`GET ${USER}`))) + http(`${GET}/groups`), arrives: [`${GET}/groups`], answers: [405, 200] },
  { name: 'HEAD, then a GET', bytes: http(`HEAD ${USER}`) },
  { name: 'twenty in a row', bytes: http(GET).repeat(20), arrives: Array.from({ length: 20 }, () => GET), answers: Array.from({ length: 20 }, () => 200) },
  { name: 'a request in the padding of a large refused body', bytes: http(`POST ${USER}/groups`, ['Content-Type: application/json'], inner(http(`GET ${USER}`)).padEnd(70_000, ' ')), answers: [405] }
]
