import type { Method, Operation } from '../domain/operation.js'
import type { Resolution } from './catalog.js'

export type Resolved = Extract<Resolution, { kind: 'operation' }>

/** The order in which refusals name methods. */
export const METHODS: readonly Method[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']

/** Words that Okta reads as "whoever holds the credential": behind the gate, that is the gate's own account. */
const OWN_ACCOUNT = ['me', 'current']

/**
 * One segment of all templates. A literal beside a parameter always wins, in every template and for every method:
 * there is no way back from a literal into the parameter.
 */
export class TrieNode {
  readonly literals = new Map<string, TrieNode>()
  readonly operations = new Map<string, Resolved>()
  parameter: TrieNode | undefined
  /** the answer for every method that has no operation here; undefined: this is no whole path */
  unknownMethod: Resolution | undefined
  readonly #refused = new Set(OWN_ACCOUNT)
  /** bit n: some refused word has n letters (modulo 32); spares most values the look-up */
  #lengths = lengthsOf(OWN_ACCOUNT)

  /** True when a decoded value may stand for this node's parameter: not empty, no reserved word, no sibling's name. */
  admits (value: string): boolean {
    if (value === '') return false
    if ((this.#lengths & (1 << (value.length & 31))) === 0) return true
    return !this.#refused.has(value.toLowerCase())
  }

  literal (name: string): TrieNode {
    let node = this.literals.get(name)
    if (node === undefined) {
      node = new TrieNode()
      this.literals.set(name, node)
      this.#refused.add(name.toLowerCase())
      this.#lengths |= 1 << (name.length & 31)
    }
    return node
  }

  /** A literal that differs from `name` in letter case alone. */
  otherSpelling (name: string): string | undefined {
    const folded = name.toLowerCase()
    for (const literal of this.literals.keys()) if (literal !== name && literal.toLowerCase() === folded) return literal
    return undefined
  }
}

function lengthsOf (words: readonly string[]): number {
  return words.reduce((bits, word) => bits | (1 << (word.length & 31)), 0)
}

/** The node of an operation's path; made when it is missing. */
export function nodeFor (root: TrieNode, operation: Pick<Operation, 'segments'>): TrieNode {
  let node = root
  for (const segment of operation.segments) {
    node = segment.kind === 'literal' ? node.literal(segment.name) : (node.parameter ??= new TrieNode())
  }
  return node
}

/** Adds an operation. A method and shape that is there already is replaced: callers look for conflicts first. */
export function insert (root: TrieNode, operation: Operation): void {
  const node = nodeFor(root, operation)
  node.operations.set(operation.method, { kind: 'operation', operation, parameters: [], alias: false })
  node.unknownMethod = { kind: 'unknown_method', allowed: METHODS.filter(method => node.operations.has(method)) }
}

/**
 * Walks the trie. Literals are compared with the segments as received, parameters judged by the decoded ones, so a
 * literal has one spelling: what decodes to it, or differs in case, is nobody's parameter.
 *
 * @param values receives the parameters' values, in the order of the path
 */
export function walk (root: TrieNode, raw: readonly string[], decoded: readonly string[], values: string[]): TrieNode | undefined {
  let node = root
  for (let i = 0; i < raw.length; i++) {
    const literal = node.literals.get(raw[i]!)
    if (literal !== undefined) { node = literal; continue }
    const value = decoded[i]!
    if (node.parameter === undefined || !node.admits(value)) return undefined
    values.push(value)
    node = node.parameter
  }
  return node
}
