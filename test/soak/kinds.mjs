// The kinds of requests of the soak, with how often each comes. `send` does its part on a connection that is open and idle.

const user = n => `00u${String(n).padStart(17, '0')}`
const profile = JSON.stringify({ profile: { firstName: 'Ada', mobilePhone: '555-0100', city: 'x'.repeat(200) } })
const login = JSON.stringify({ profile: { login: 'other@example.com' } })

/** A request as text. Every one brings what must not reach Okta. */
export function text (line, key, { headers = [], body } = {}) {
  const lines = [`${line} HTTP/1.1`, 'Host: gate', `Authorization: SSWS ${key}`, 'Accept: application/json', 'Cookie: soak=1', 'X-Soak: 1', 'X-Forwarded-For: 10.9.9.9', ...headers]
  if (body !== undefined) lines.push('Content-Type: application/json', `Content-Length: ${body.length}`)
  return `${lines.join('\r\n')}\r\n\r\n${body ?? ''}`
}

/** Answered as fast as the gate can: whole requests, one write each. */
export function fastKinds ({ key, limitedKey }) {
  const kind = (group, weight, status, ...requests) => ({ group, weight, status, requests: requests.map(request => Buffer.from(request, 'latin1')) })
  return [
    kind('allowed', 40, [200], ...Array.from({ length: 50 }, (_, n) => text(`GET /api/v1/users/${user(n)}`, key)), text('GET /api/v1/users?limit=25&after=x', key), text(`GET /api/v1/users/${user(1)}/factors`, key)),
    kind('allowed', 8, [200], text(`POST /api/v1/users/${user(2)}`, key, { body: profile })),
    kind('allowed', 4, [200], text(`PUT /api/v1/groups/00g00000000000000001/users/${user(3)}`, key, { headers: ['Content-Length: 0'] })),
    kind('refused', 8, [403], text(`DELETE /api/v1/users/${user(4)}`, key), text('GET /api/v1/nothing/here', key), text('GET /api/v1/users/me', key), text('GET /api/v1/apps?limit=1', key)),
    kind('refused', 4, [403], text(`POST /api/v1/users/${user(5)}`, key, { body: login })),
    kind('refused', 3, [401, 429], text(`GET /api/v1/users/${user(6)}`, 'ngk_notakey'), text(`GET /api/v1/users/${user(6)}`, 'undefined')),
    kind('refused', 2, [405], text(`HEAD /api/v1/users/${user(6)}`, key), text(`PATCH /api/v1/users/${user(6)}`, key, { headers: ['Content-Length: 0'] })),
    kind('limited', 8, [200, 429], text('GET /api/v1/groups?limit=2', limitedKey)),
    kind('malformed', 5, [400], text('GET /api/v1/users/../apps', key), text('GET //api/v1/users', key), text('GET /api/v1/users/%2e%2e', key), text('GET /api/v1/users/a\\b', key), text('GET http://evil.example/api/v1/users', key)),
    kind('malformed', 4, [400], text('GET /api/v1/users', key, { headers: ['X_Under: 1'] }), text('GET /api/v1/users', key, { headers: ['Host: other'] }), text('GET /api/v1/users', key, { headers: ['Content-Length: 5'] }) + 'hello'),
    kind('malformed', 3, [400, 405], 'GARBAGE\r\n\r\n', 'GET / HTTP/3.7\r\n\r\n', text('POST /api/v1/users', key, { headers: ['Transfer-Encoding: gzip, chunked'] }), text('POST /api/v1/users', key, { headers: ['Content-Length: 5', 'Transfer-Encoding: chunked'] }), 'GET /a HTTP/1.1\r\nHost: a\r\nbad header: x\r\n\r\n', '\0\x01\x02\r\n\r\n', 'CONNECT gate:80 HTTP/1.1\r\nHost: gate\r\n\r\n'),
    kind('malformed', 2, [400], text('POST /api/v1/users/00u5', key, { body: '{"profile":{"firstName":1,"firstName":2}}' }), text('POST /api/v1/users/00u5', key, { body: '{"profile":' }))
  ]
}

/** Those that take their time. `status` undefined: no answer is expected. */
export function slowKinds ({ key }) {
  const [upload, plain, slow, big] = [text(`POST /api/v1/users/${user(7)}`, key, { body: profile }), text(`GET /api/v1/users/${user(8)}`, key), text('GET /api/v1/users/slow', key), text('GET /api/v1/users/big', key)]
  const middle = upload.length - 100
  const pieces = (whole, size) => Array.from({ length: Math.ceil(whole.length / size) }, (_, n) => whole.slice(n * size, (n + 1) * size))
  return [
    { group: 'slow', weight: 6, status: [200], steps: pieces(plain, 40) },
    { group: 'slow', weight: 6, status: [200], steps: pieces(upload, 100) },
    { group: 'slow', weight: 8, status: [200], steps: [slow] },
    { group: 'slow', weight: 3, status: [200], steps: [big], reader: 'slow' },
    { group: 'aborted', weight: 4, steps: [upload.slice(0, middle)], leave: 'wait' },
    { group: 'aborted', weight: 4, steps: [slow], leave: 'wait' },
    { group: 'aborted', weight: 4, steps: [plain], leave: 'at once' },
    { group: 'aborted', weight: 2, steps: [big], leave: 'on the first byte' },
    { group: 'aborted', weight: 2, steps: [big], leave: 'reset on the first byte' },
    { group: 'malformed', weight: 2, status: [400], steps: [plain.slice(0, 60)], leave: 'half closed' },
    { group: 'failed', weight: 1, status: [502], steps: [text('GET /api/v1/users/gone', key)] },
    { group: 'failed', weight: 1, steps: [text('GET /api/v1/users/cut', key)], cut: true }
  ]
}
