import { hash as digest, sign, type KeyObject } from 'node:crypto'
import { EVENT_VERSION } from './plain.js'

/**
 * The hash chain of a file. Each line ends in `"chain":{"seq":N,"hash":"H"}`, H being the SHA-256 (base64url) of the
 * hash before it, a newline, N, a newline and the line without the chain. Checkpoints are lines of the chain that
 * carry its state as a signed JWS; a file begins with a line that says where the one before it ended.
 */
export interface ChainState {
  /** of the last line */
  readonly seq: number
  readonly hash: string
}

/** What a checkpoint or the first line of a file states, signed. */
export interface Statement {
  readonly kind: 'start' | 'checkpoint' | 'end'
  /** of all files of a gate since its chain began */
  readonly chain: string
  /** files of the chain, from 1 */
  readonly file: number
  /** state before this line */
  readonly seq: number
  readonly hash: string
  /** epoch milliseconds */
  readonly time: number
  readonly gate: string
}

export const FIRST: ChainState = { seq: 0, hash: '' }
export const START_NAME = 'narrowgate.chain'
export const CHECKPOINT_NAME = 'narrowgate.checkpoint'
const SUFFIX = /,"chain":\{"seq":([0-9]{1,15}),"hash":"([A-Za-z0-9_-]{43})"\}(\}{1,2})$/

/** The hash after a line. @param line without its chain and newline; as bytes (`latin1`) where it was read from a file */
export function nextHash (hash: string, seq: number, line: string, encoding: 'utf8' | 'latin1' = 'utf8'): string {
  const input = hash + '\n' + seq + '\n' + line
  return digest('sha256', encoding === 'utf8' ? input : Buffer.from(input, 'latin1'), 'base64url')
}

/** A line taken apart into what it said and its chain, which line-bytes.ts puts on; undefined when it has none. @param line without its newline */
export function unchained (line: string): { readonly line: string, readonly state: ChainState } | undefined {
  const match = SUFFIX.exec(line)
  return match === null ? undefined : { line: line.slice(0, match.index) + match[3]!, state: { seq: Number(match[1]), hash: match[2]! } }
}

/** Signs statements: a compact JWS with EdDSA (RFC 8037), made synchronously because the next line waits for it. */
export interface Signer {
  /** RFC 7638 thumbprint of the public key */
  readonly kid: string
  sign (statement: Statement): string
}

/** @param key an Ed25519 private key */
export function createSigner (key: KeyObject, kid: string): Signer {
  const header = Buffer.from(JSON.stringify({ alg: 'EdDSA', kid, typ: 'narrowgate-checkpoint' })).toString('base64url')
  return {
    kid,
    sign (statement) {
      const input = `${header}.${Buffer.from(JSON.stringify(statement)).toString('base64url')}`
      return `${input}.${sign(null, Buffer.from(input), key).toString('base64url')}`
    }
  }
}

/** A line that carries a statement: signed where there is a key, else in the open. Its last value is no object, so the chain is added at its top. */
export function statementLine (statement: Statement, signer: Signer | undefined): string {
  const { kind, time } = statement
  const body = signer === undefined ? { statement } : { jws: signer.sign(statement) }
  return `${JSON.stringify({ event: kind === 'start' ? START_NAME : CHECKPOINT_NAME, version: EVENT_VERSION, ...body, time: new Date(time).toISOString() })}\n`
}

/** What a line states, unverified; undefined when it is an event. */
export function readStatement (line: string): { readonly statement: Statement, readonly jws?: string } | undefined {
  if (!line.startsWith(`{"event":"${START_NAME}"`) && !line.startsWith(`{"event":"${CHECKPOINT_NAME}"`)) return undefined
  try {
    const { statement, jws } = JSON.parse(line) as { statement?: Statement, jws?: string }
    if (jws === undefined) return statement === undefined ? undefined : { statement }
    return { statement: JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString()) as Statement, jws }
  } catch {
    return undefined
  }
}
