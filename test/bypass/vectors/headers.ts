import { AUTH, http, USER, type Vector } from './vector.js'

const GET = `GET ${USER}`
const dropped = (...headers: string[]): Vector => ({ name: `dropped: ${headers.join(', ')}`, bytes: http(GET, headers), arrives: [GET], answers: [200] })
const refused = (...headers: string[]): Vector => ({ name: `refused: ${JSON.stringify(headers.join(', '))}`, bytes: http(GET, headers) })

/** Headers that would speak for the gate, steer Okta's view of the caller, or be read in two ways. The harness refuses any that is not on the list of what may pass. */
export const headers: readonly Vector[] = [
  ...[
    'X-Forwarded-For: 1.2.3.4', 'X-Forwarded-Host: evil.example', 'X-Forwarded-Proto: https', 'X-Forwarded-Uri: /api/v1/groups', 'X-Forwarded-Prefix: /x', 'Forwarded: for=1.2.3.4;host=evil.example', 'X-Real-IP: 1.2.3.4', 'X-Client-IP: 1.2.3.4', 'True-Client-IP: 1.2.3.4', 'CF-Connecting-IP: 1.2.3.4', 'X-Cluster-Client-IP: 1.2.3.4', 'Via: 1.1 evil',
    'X-Original-URL: /api/v1/groups', 'X-Rewrite-URL: /api/v1/groups', 'X-Original-URI: /api/v1/groups', 'X-HTTP-Method-Override: DELETE', 'X-HTTP-Method: DELETE', 'X-Method-Override: DELETE', 'X-Original-Method: DELETE',
    'Cookie: sid=1', 'Proxy-Authorization: Basic eA==', 'DPoP: x', 'Proxy-Connection: keep-alive', 'Keep-Alive: timeout=1', 'TE: trailers', 'Trailer: X', 'Upgrade: h2c', 'X-Device-Fingerprint: x', 'Origin: https://evil.example', 'Referer: https://evil.example', 'Range: bytes=0-1', 'If-Range: x', 'Max-Forwards: 0', 'Early-Data: 1', 'X-Api-Version: 1', 'X-Okta-XsrfToken: x', 'Client-Cert: :eA==:', 'X-SSL-Client-Cert: x', 'Content-Location: /x', 'Destination: /x', 'SOAPAction: x', 'Access-Control-Request-Method: DELETE', '__proto__: x', 'constructor: x'
  ].filter(line => !line.startsWith('__')).map(line => dropped(line)),
  dropped('Connection: authorization'), dropped('Connection: close, authorization'), dropped('Connection: host'), dropped('Connection: keep-alive, x-a', 'X-A: 1'),
  refused('Connection: content-type'), refused('Connection: Accept'), refused('Connection: user-agent, close'), refused('Connection: content-length'), refused('Connection: transfer-encoding'),
  refused('Host: evil.example'), refused('Authorization: SSWS other'), refused(AUTH), refused('authorization: Bearer x'),
  ...['100-continue, x', 'x, 100-continue', '100-continue;q=1', '100-continue, 100-continue', '200-ok'].map(value => refused(`Expect: ${value}`)), refused('Expect: 100-continue', 'Expect: 100-continue'),
  ...['a/b', 'a@b', 'a b', 'a?b', 'a#b', 'a\\b', '[::1', 'a:80:80', 'a:x', '"a"', 'http://a'].map(host => ({ name: `Host: ${host}`, bytes: `${GET} HTTP/1.1\r\nHost: ${host}\r\n${AUTH}\r\n\r\n` })),
  ...['gate:8443', '[::1]:8443', 'gate.', 'a-b.example', '127.0.0.1:1', ''].map(host => ({ name: `Host: ${host} is a host`, bytes: `${GET} HTTP/1.1\r\nHost: ${host}\r\n${AUTH}\r\n\r\n`, arrives: [GET], answers: [200] })),
  refused('X_Forwarded_For: 1.2.3.4'), refused('Content_Type: x'), refused('__proto__: x'), refused('X.Real.Ip: 1'), refused('X/Y: 1'), refused('X~Y: 1'), refused("X'Y: 1"), refused('X Y: 1'), refused(': x'), refused('X\x00: 1'), refused('X\xe9: 1'), refused('no colon'), refused('X:1\r\n folded'), refused('X: a\x00b'), refused('X: a\rb'), refused('X: a\x01b'), refused('X: \x7f'), refused('X: \xff'), refused('X: a\nY: b\x00'), refused('\tX: 1'),
  refused(`X: ${'y'.repeat(17_000)}`), refused(...Array.from({ length: 120 }, (_, i) => `X-${i}: y`)),
  { name: 'no Host', bytes: `${GET} HTTP/1.1\r\n${AUTH}\r\n\r\n` },
  { name: 'no key', bytes: `${GET} HTTP/1.1\r\nHost: gate\r\n\r\n`, answers: [401] },
  ...['User-Agent: {key}', 'X-Okta-User-Agent-Extended: x/{key}', 'Accept: {key}/*'].map(line => refused(line)), dropped('X-Key: {key}'), dropped('Cookie: key={key}'),
  { name: 'a key that is none', bytes: `${GET} HTTP/1.1\r\nHost: gate\r\nAuthorization: SSWS ngk_none\r\n\r\n`, answers: [401] },
  { name: 'a scheme alone', bytes: `${GET} HTTP/1.1\r\nHost: gate\r\nAuthorization: SSWS\r\n\r\n`, answers: [401] },
  { name: 'the key as a cookie', bytes: `${GET} HTTP/1.1\r\nHost: gate\r\nCookie: key={key}\r\n\r\n`, answers: [401] },
  { name: 'the key in the query', bytes: `${GET}?key={key} HTTP/1.1\r\nHost: gate\r\n\r\n`, answers: [401] },
  { name: 'the key with more behind it', bytes: `${GET} HTTP/1.1\r\nHost: gate\r\n${AUTH}x\r\n\r\n`, answers: [401] },
  { name: 'two keys in one line', bytes: `${GET} HTTP/1.1\r\nHost: gate\r\n${AUTH}, SSWS other\r\n\r\n`, answers: [401] },
  { name: 'the key as Basic', bytes: `${GET} HTTP/1.1\r\nHost: gate\r\nAuthorization: Basic {key}\r\n\r\n`, answers: [401] }
]
