import { createPublicKey, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { compactVerify } from 'jose'
import { printable } from '../domain/printable.js'
import { readStatement, unchained } from '../audit/chain.js'
import { verify, type Verdict, type VerifyOptions } from '../audit/verify.js'
import { chainsOf, openLog, withRotated } from './audit-events.js'
import { EXIT } from './exit.js'
import type { Shell } from './shell.js'
import { count, painter } from './style.js'
import { UsageFault } from './usage.js'

export interface VerifyCommandOptions {
  readonly key?: string
  readonly anchor?: readonly string[]
  readonly json?: boolean
}

/** `narrowgate audit verify FILE…`: 0 when everything is as the gate wrote it. */
export async function verifyFiles (shell: Shell, files: readonly string[], options: VerifyCommandOptions): Promise<number> {
  const { terminal } = shell
  const check = options.key === undefined ? undefined : checkerOf(await readKey(options.key))
  const anchors = await readAnchors(shell, options.anchor ?? [], check)
  const verdicts: Verdict[] = []
  for (const log of chainsOf(files)) for (const chain of await byChain(shell, log)) verdicts.push(await verify(logs(shell, chain), { check, anchors }))
  const verdict = together(verdicts)
  if (options.json === true) terminal.out(`${JSON.stringify({ ...verdict, anchors: anchors.length, chains: verdicts.length }, null, 2)}\n`)
  else print(shell, verdict, { anchors: anchors.length, chains: verdicts.length, hasKey: check !== undefined })
  return verdict.findings.length > 0 ? EXIT.findings : EXIT.fine
}

/**
 * Files by the chain that their first lines name, in the order of their numbers in it: several gates have a chain each, and
 * a name that a file was put aside under need not tell its place. One that names no chain stays behind the file before it.
 */
async function byChain (shell: Shell, files: readonly string[]): Promise<string[][]> {
  const chains = new Map<string, Array<{ file: string, place: number }>>()
  let last = { chain: '', place: 0 }
  for (const file of files) {
    const start = await startOf(shell, file)
    last = start === undefined ? { ...last } : { chain: start.chain, place: start.file }
    const known = chains.get(last.chain)
    if (known === undefined) chains.set(last.chain, [{ file, place: last.place }])
    else known.push({ file, place: last.place })
  }
  return [...chains.values()].map(chain => chain.sort((a, b) => a.place - b.place).map(({ file }) => file))
}

/** Standard input can be read once: it names nothing beforehand. What can't be read is said when the file's turn comes. */
async function startOf (shell: Shell, file: string): Promise<{ chain: string, file: number } | undefined> {
  if (file === '-') return undefined
  try {
    const lines = bytesOfLines(shell, file)
    const { value } = await lines.next()
    await lines.return(undefined)
    return readStatement(String(value ?? ''))?.statement
  } catch {
    return undefined
  }
}

/** Each process of a gate has a chain of its own. */
function together (verdicts: readonly Verdict[]): Verdict {
  const sum = (of: (verdict: Verdict) => number): number => verdicts.reduce((total, verdict) => total + of(verdict), 0)
  return {
    findings: verdicts.flatMap(({ findings }) => findings),
    files: sum(one => one.files),
    events: sum(one => one.events),
    checkpoints: sum(one => one.checkpoints),
    kids: [...new Set(verdicts.flatMap(({ kids }) => kids))],
    signed: verdicts.every(({ signed }) => signed),
    loose: sum(one => one.loose),
    from: Math.max(...verdicts.map(({ from }) => from))
  }
}

function print ({ terminal }: Shell, verdict: Verdict, { anchors, chains, hasKey }: { readonly anchors: number, readonly chains: number, readonly hasKey: boolean }): void {
  const paint = painter(terminal.color)
  for (const { file, line, what, message } of verdict.findings) terminal.out(`${printable(file)}${line === undefined ? '' : `:${line}`} ${paint('red', what)}: ${printable(message)}\n`)
  const { findings, files, events, checkpoints, kids, loose, from } = verdict
  terminal.out(`${findings.length === 0 ? paint('green', 'intact') : paint('red', count(findings.length, 'finding'))}: ${count(files, 'file')}, ${count(events, 'event')}, ${count(checkpoints, 'statement')}${chains === 1 ? '' : `, ${count(chains, 'chain')}`}${anchors === 0 ? '' : `, ${count(anchors, 'anchor')}`}\n`)
  if (!hasKey) terminal.err(`narrowgate: signatures were not checked: give --key${kids.length === 0 ? '; nothing is signed' : ` (signed by ${kids.map(printable).join(', ')})`}\n`)
  if (from > 1) terminal.err(`narrowgate: what was written before event ${from} is not here: whether it was rotated away or removed can't be told\n`)
  if (checkpoints === 0 && findings.length > 0 && files === 1) terminal.err('narrowgate: no line states a chain: was it written with chain: false, or by another program, or were its line ends converted?\n')
  if (loose > 0) terminal.err(`narrowgate: no checkpoint vouches for the last ${count(loose, 'event')}\n`)
  if (anchors === 0) terminal.err('narrowgate: without --anchor, events cut off at the end of the last file are not missed\n')
}

async function readKey (file: string): Promise<KeyObject> {
  const pem = await readFile(file).catch((error: unknown) => { throw new UsageFault(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`) })
  try {
    const key = createPublicKey(pem)
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch { /* said below */ }
  throw new UsageFault(`${file} is no Ed25519 key in PEM`)
}

function checkerOf (key: KeyObject): NonNullable<VerifyOptions['check']> {
  return async jws => await compactVerify(jws, key, { algorithms: ['EdDSA', 'Ed25519'] }).then(() => true, () => false)
}

/** The statements in other sinks' logs. One whose signature is not good proves nothing. */
async function readAnchors (shell: Shell, files: readonly string[], check: VerifyOptions['check']): Promise<NonNullable<VerifyOptions['anchors']>> {
  const anchors: Array<NonNullable<VerifyOptions['anchors']>[number]> = []
  for (const file of withRotated(files)) {
    for await (const line of createInterface({ input: await opened(shell, file), crlfDelay: Infinity })) {
      const text = line.slice(Math.max(0, line.indexOf('{"event":"narrowgate.')))
      const anchor = readStatement(unchained(text)?.line ?? text)
      if (anchor !== undefined && (check === undefined || (anchor.jws !== undefined && await check(anchor.jws)))) anchors.push(anchor)
    }
  }
  if (files.length > 0 && anchors.length === 0) throw new UsageFault(`${files.join(', ')} ${files.length === 1 ? 'holds' : 'hold'} no checkpoint${check === undefined ? '' : ' that the key has signed'}`)
  return anchors
}

async function * logs (shell: Shell, files: readonly string[]): AsyncGenerator<{ name: string, lines: AsyncIterable<string> }> {
  for (const name of files) yield { name, lines: bytesOfLines(shell, name) }
}

/** Lines with their newlines, a character for each byte: what was hashed is bytes. */
async function * bytesOfLines (shell: Shell, file: string): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of await opened(shell, file)) {
    const lines = (rest + (chunk as Buffer).toString('latin1')).split('\n')
    rest = lines.pop()!
    for (const line of lines) yield `${line}\n`
  }
  if (rest !== '') yield rest
}

async function opened (shell: Shell, file: string): ReturnType<typeof openLog> {
  try {
    return await openLog(shell, file)
  } catch (error) {
    throw new UsageFault(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`)
  }
}
