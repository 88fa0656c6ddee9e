import type { RawAnswer } from '../support/raw-client.js'
import type { StubRequest } from '../support/gate.js'
import type { Vector } from './vectors/vector.js'

/** What a run of a vector has brought about. */
export interface Outcome {
  readonly received: readonly StubRequest[]
  readonly answers: readonly RawAnswer[]
}

/** Who took part in it. */
export interface Parties {
  readonly key: string
  readonly token: string
  /** host:port */
  readonly upstream: string
}

/** All that a request to Okta may carry: what the gate writes itself, and its allowlist of the client's headers. */
const MAY_PASS = new Set(['host', 'connection', 'authorization', 'content-length', 'content-type', 'content-encoding', 'accept', 'accept-language', 'accept-encoding', 'user-agent',
  'if-match', 'if-none-match', 'if-modified-since', 'prefer', 'x-okta-user-agent-extended', 'x-okta-retry-for', 'x-okta-retry-count', 'oktaaccessgateway-agent'])

/** @returns what is wrong with the outcome of a vector; nothing: it holds */
export function judge (vector: Vector, { received, answers }: Outcome, parties: Parties): string[] {
  const wrong: string[] = []
  const expected = [...vector.arrives ?? []].sort()
  const lines = received.map(({ line }) => line).sort()
  if (JSON.stringify(lines) !== JSON.stringify(expected.map(line => `${line} HTTP/1.1`))) wrong.push(`arrived: ${JSON.stringify(lines).slice(0, 200)}`)
  for (const request of received) wrong.push(...judgeArrival(request, parties))
  if (vector.body !== undefined && received[0]?.body.toString('latin1') !== vector.body) wrong.push(`the body arrived as ${JSON.stringify(received[0]?.body.toString('latin1').slice(0, 100))}`)
  const statuses = answers.map(({ status }) => status)
  if (vector.answers === undefined) {
    if (statuses.length === 0 || statuses.some(status => status < 400 || status > 499)) wrong.push(`answered ${statuses.join(' ')}`)
  } else if (vector.answers.length > 0 && statuses.join(' ') !== vector.answers.join(' ')) wrong.push(`answered ${statuses.join(' ')} instead of ${vector.answers.join(' ')}`)
  if (vector.cut === true && answers.length > 0 && statuses[0]! < 400) wrong.push('half an answer looks whole')
  const said = answers.map(answer => `${answer.lines.join('\n')}\n${answer.body.toString('latin1')}`).join('\n').toLowerCase()
  for (const secret of [...vector.hides ?? [], parties.token]) if (said.includes(secret.replace('{upstream}', parties.upstream).toLowerCase())) wrong.push(`the client reads ${secret}`)
  return wrong
}

/** The invariant of everything that reaches Okta, whatever was sent. */
export function judgeArrival ({ line, headers, body, header }: StubRequest, { key, token, upstream }: Parties): string[] {
  const wrong: string[] = []
  const of = (name: string): readonly string[] => headers.filter(([one]) => one.toLowerCase() === name).map(([, value]) => value)
  if (of('authorization').join('|') !== `SSWS ${token}`) wrong.push(`credential: ${of('authorization').join('|')}`)
  if (of('host').join('|') !== upstream) wrong.push(`host: ${of('host').join('|')}`)
  if (of('content-length').length > 1 || Number(header('content-length') ?? 0) !== body.length || of('transfer-encoding').length > 0) wrong.push('framing that is not one exact length')
  const strangers = headers.map(([name]) => name.toLowerCase()).filter(name => !MAY_PASS.has(name))
  if (strangers.length > 0) wrong.push(`headers: ${strangers.join(', ')}`)
  if (line.includes(key) || headers.some(([, value]) => value.includes(key)) || body.includes(key)) wrong.push('the client\'s key went along')
  return wrong
}
