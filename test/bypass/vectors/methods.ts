import { AUTH, http, USER, type Vector } from './vector.js'

const raw = (line: string): Vector => ({ name: JSON.stringify(line), bytes: `${line}\r\nHost: gate\r\n${AUTH}\r\n\r\n` })

/** Methods that no rule names, other protocols and versions, upgrades and tunnels. */
export const methods: readonly Vector[] = [
  ...['DELETE', 'PUT', 'PATCH', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'MKCOL', 'COPY', 'MOVE', 'LOCK', 'UNLOCK', 'SEARCH', 'LINK', 'PURGE', 'SOURCE', 'REPORT', 'QUERY', 'M-SEARCH', 'SUBSCRIBE'].map(method => ({ name: method, bytes: http(`${method} ${USER}`, method === 'PUT' || method === 'PATCH' ? ['Content-Length: 0'] : []) })),
  { name: 'DELETE with a body', bytes: http(`DELETE ${USER}`, ['Content-Type: application/json'], '{"x":1}') },
  { name: 'POST of what may only be read', bytes: http(`POST ${USER}/groups`, ['Content-Length: 0']) },
  { name: 'POST of a list', bytes: http('POST /api/v1/users?activate=true', ['Content-Type: application/json'], '{"profile":{"mobilePhone":"1"}}') },
  ...['get', 'Get', 'gET', 'GETX', 'G\x00ET', '', ' GET', 'GET\x00', 'GET,DELETE', 'GE T', '\r\nDELETE', 'X-GET', '\xefGET', 'DELETE\x0b'].map(method => raw(`${method} ${USER} HTTP/1.1`)),
  ...['HTTP/2.0', 'HTTP/1.2', 'HTTP/1.10', 'HTTP/0.9', 'HTTP/3', 'http/1.1', 'HTTP /1.1', 'HTTP/1.1 x', 'HTTP/1,1', 'HTTP/11', 'HTTP/1.1\x00', 'XTTP/1.1', 'ICE/1.0', ''].map(version => raw(`GET ${USER} ${version}`)),
  { name: 'HTTP/0.9', bytes: `GET ${USER}\r\n\r\n` },
  { name: 'HTTP/2 by prior knowledge', bytes: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00' },
  { name: 'TLS', bytes: '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03' },
  { name: 'SSH', bytes: 'SSH-2.0-OpenSSH_9.0\r\n\r\n' },
  { name: 'the PROXY protocol', bytes: `PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n${http(`GET ${USER}`)}` },
  { name: 'CONNECT', bytes: `CONNECT acme.okta.com:443 HTTP/1.1\r\nHost: acme.okta.com:443\r\n${AUTH}\r\n\r\n` },
  { name: 'CONNECT of a path', bytes: `CONNECT ${USER} HTTP/1.1\r\nHost: gate\r\n${AUTH}\r\n\r\n` },
  { name: 'CONNECT and a request behind it', bytes: `CONNECT gate:80 HTTP/1.1\r\nHost: gate:80\r\n\r\n${http(`DELETE ${USER}`)}` },
  ...['websocket', 'h2c', 'TLS/1.0', 'HTTP/2.0', 'foo', ''].map(protocol => ({ name: `an upgrade to ${protocol}`, bytes: http(`GET ${USER}`, ['Connection: Upgrade', `Upgrade: ${protocol === '' ? 'a,b' : protocol}`]) + http(`DELETE ${USER}`) })),
  ...['Upgrade\t', '\tupgrade', 'keep-alive,\tUpgrade', 'UPGRADE', ',upgrade,'].map(option => ({ name: `an upgrade by ${JSON.stringify(option)}`, bytes: http(`GET ${USER}`, [`Connection: ${option}`, 'Upgrade: h2c']) + http(`GET ${USER}`) })),
  { name: 'an upgrade to h2c with its settings', bytes: http(`GET ${USER}`, ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk']) }
]
