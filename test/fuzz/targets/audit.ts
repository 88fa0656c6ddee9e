import assert from 'node:assert/strict'
import fc from 'fast-check'
import { FIRST, nextHash, statementLine, type ChainState } from '../../../src/audit/chain.js'
import { createEcsLines } from '../../../src/audit/ecs.js'
import { severityOf } from '../../../src/audit/meaning.js'
import { createOcsfLines } from '../../../src/audit/ocsf.js'
import { parseEvent } from '../../../src/audit/parse.js'
import { createPlainLines } from '../../../src/audit/plain.js'
import { verify } from '../../../src/audit/verify.js'
import { eventText } from '../../../src/cli/audit-query.js'
import { painter } from '../../../src/cli/style.js'
import { someEvent } from '../../audit/events.js'
import { anyBytes, pieces, type FuzzTarget } from '../target.js'

const producer = { version: '1.0.0', gate: 'gate-1' }
const plain = createPlainLines()
const [ocsf, ecs] = [createOcsfLines(producer), createEcsLines(producer)]
const events = [
  someEvent({ id: 'a1', client: 'c', keyId: 'k', operation: 'getUser', resources: [{ kind: 'user', id: '00u1' }], rule: 'r', ruleId: 'c.yaml#0', decision: 'allow', status: 200, upstreamStatus: 200, queryNames: ['limit'] }),
  someEvent({ id: 'a2', outcome: 'refused', stage: 'decide', decision: 'deny', reason: 'no_rule', detail: 'x', status: 403 }),
  someEvent({ id: 'a3', phase: 'intent', outcome: 'pending', method: 'POST', count: 3 })
]
const lines = events.flatMap(event => [plain, ocsf, ecs].map(write => write(event).trimEnd()))
const WORDS = ['{', '}', '[', ']', ':', ',', '"', 'null', '1', '-1', '1e999', 'true', '{}', '[]', '"x"', '{"toString":1,"valueOf":2}', '[null]', '"resources":', '"time":', '"event":"narrowgate.request"', '"outcome":', '"queryNames":', '"bodyPaths":', '"unmapped":', '"class_uid":6003', '"metadata":', '"narrowgate":', '"authorizations":', '"enrichments":', '"__proto__":', '"count":', '"bytesIn":', '"durationMs":', '"phase":"x"', '\\u001b[31m', '\x1b]0;x\x07', '\\u0000', '\\n', '\\u009b31m', '\\u202e', '\\u200b', '\xc2\x9b', '\xe2\x80\xae', '\xff']
const paint = painter(false)

export const auditLine: FuzzTarget = {
  name: 'audit',
  property: 'any line of an audit log is an event that can be shown, summed up and written again, or none; shown, it cannot drive a terminal; what the gate wrote is read back',
  share: 0.4,
  slowMs: 250,
  structured: fc.oneof(
    { weight: 2, arbitrary: pieces(WORDS).map(text => `{"event":"narrowgate.request",${text}}`) },
    { weight: 3, arbitrary: fc.tuple(fc.constantFrom(...lines), fc.constantFrom('time', 'outcome', 'resources', 'queryNames', 'method', 'id', 'path', 'client', 'status', 'bytesIn', 'durationMs', 'rule', 'detail', 'count', 'phase', 'metadata', 'api', 'unmapped', 'authorizations', 'enrichments', 'http_request', 'narrowgate'), fc.constantFrom<unknown>(null, 1, '', 'x', {}, [], [null], { toString: 1, valueOf: 2 }, [{}], [[]], 'x\u001b[2J', 'x\u009b2J', '\u202egnp', ['\u2066', '\u200b'], -1, true)).map(([line, key, value]) => Buffer.from(JSON.stringify({ ...JSON.parse(line) as object, [key]: value })).toString('latin1')) },
    { weight: 1, arbitrary: pieces(WORDS) },
    { weight: 1, arbitrary: anyBytes }
  ),
  corpus: lines,
  words: WORDS,
  check (input) {
    const event = parseEvent(Buffer.from(input, 'latin1').toString())
    const known = lines.indexOf(input)
    if (known >= 0) assert.equal(event?.id, events[Math.floor(known / 3)]!.id, 'what the gate wrote is not read back')
    if (event === undefined) return
    const shown = eventText(event, paint)
    assert.ok(!/[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]/.test(shown), 'a terminal could be driven') // eslint-disable-line no-control-regex
    severityOf(event)
    for (const write of [plain, ocsf, ecs]) {
      const line = write(event)
      assert.ok(!/[\x00-\x1f\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/u.test(line.slice(0, -1)), 'a line holds what is not to be seen') // eslint-disable-line no-control-regex
      assert.ok(line.endsWith('}\n') && !line.slice(0, -1).includes('\n'), 'it is written as several lines')
      assert.equal(parseEvent(line.trimEnd())?.id, event.id, 'written again it is another event')
    }
  }
}

/** docs/audit.md, written down once more: a line with its place in the chain. */
function chained (line: string, before: ChainState): { readonly line: string, readonly state: ChainState } {
  const seq = before.seq + 1
  const hash = nextHash(before.hash, seq, line.slice(0, -1))
  const braces = line.endsWith('}}\n') ? '}}' : '}'
  return { line: `${line.slice(0, -1 - braces.length)},"chain":{"seq":${seq},"hash":"${hash}"}${braces}\n`, state: { seq, hash } }
}

/** A chain of twelve lines, as a file of the gate's holds it. */
function chain (): string[] {
  const out: string[] = []
  let state: ChainState = FIRST
  const add = (line: string): void => { const next = chained(line, state); out.push(next.line); state = next.state }
  const statement = (kind: 'start' | 'checkpoint' | 'end'): string => statementLine({ kind, chain: 'chain-1', file: 1, seq: state.seq, hash: state.hash, time: 1_795_348_801_000, gate: 'gate-1' }, undefined)
  add(statement('start'))
  for (let i = 0; i < 5; i++) add(ocsf(someEvent({ id: `00000000-0000-4000-8000-00000000000${i}` })))
  add(statement('checkpoint'))
  for (let i = 5; i < 9; i++) add(plain(someEvent({ id: `00000000-0000-4000-8000-00000000000${i}` })))
  add(statement('end'))
  return out
}

const good = chain()
const file = good.join('')
/** Cut off at the end of a line it is a shorter log: only an anchor or a next file can tell. */
const prefixes = new Set(good.map((_, i) => good.slice(0, i + 1).join('')))

export const chainFile: FuzzTarget = {
  name: 'chain',
  property: 'whatever is done to a chained file is found, but for whole lines cut off its end, which only an anchor can tell; verify never throws',
  share: 0.1,
  slowMs: 500,
  structured: fc.oneof({ weight: 4, arbitrary: fc.shuffledSubarray(good, { minLength: 1 }).map(picked => picked.join('')) }, { weight: 2, arbitrary: fc.tuple(fc.nat(11), pieces([...WORDS, ...good], 3)).map(([at, text]) => good.with(at, text).join('')) }, { weight: 1, arbitrary: anyBytes }),
  corpus: [file],
  words: [...WORDS, '\n', ...good, '"chain":{"seq":', '"jws":"a.b.c"', '{"event":"narrowgate.checkpoint","version":1,"statement":null', '{"event":"narrowgate.chain","version":1,"statement":{}', '{"event":"narrowgate.chain","jws":1'],
  async check (input) {
    async function * text (): AsyncGenerator<string> { yield * input.split(/(?<=\n)/).filter(line => line !== '') }
    async function * files (): AsyncGenerator<{ name: string, lines: AsyncIterable<string> }> { yield { name: 'audit.jsonl', lines: text() } }
    const { findings } = await verify(files(), {})
    if (prefixes.has(input)) assert.deepEqual(findings, [], 'an honest file has findings')
    else assert.ok(findings.length > 0, 'a change goes unnoticed')
  }
}
