/** xorshift32: quick, and the same for the same seed on every Node. */
export class Dice {
  #state: number

  constructor (seed: number) { this.#state = (Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995) >>> 0 || 1 }

  /** an integer from 0 to below `limit` */
  below (limit: number): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x >>> 0
    return this.#state % limit
  }

  of<T> (list: readonly T[]): T { return list[this.below(list.length)]! }
}

/** Bytes that parsers treat in a way of their own. */
const SPECIAL = ['\0', '\t', '\n', '\r', '\r\n', ' ', '"', '%', '%00', '%2e', '%2F', '&', "'", '(', '+', ',', '-', '.', '..', '/', '//', ':', ';', '<', '=', '>', '?', '@', '[', '\\', ']', '_', '`', '{', '}', '\x7f', '\x80', '\xc0\xaf', '\xef\xbb\xbf', '\xff', '0', '-1', '1e999', '9007199254740993', '__proto__', 'constructor']

/** Longer inputs are cut: what is slow is to be slow within a size that a file or header has. */
const LONGEST = 65_536

/**
 * One input of the corpus with one to eight small harms: a byte turned, a piece cut out, doubled, moved or brought in
 * from another input, a word put in.
 */
export function mutated (corpus: readonly string[], words: readonly string[], dice: Dice): string {
  let text = dice.of(corpus)
  for (let left = 1 + dice.below(dice.below(3) === 0 ? 8 : 3); left > 0; left--) text = harmed(text, corpus, words, dice)
  return text.length > LONGEST ? text.slice(0, LONGEST) : text
}

function harmed (text: string, corpus: readonly string[], words: readonly string[], dice: Dice): string {
  const at = dice.below(text.length + 1)
  const span = 1 + dice.below(dice.below(4) === 0 ? 64 : 6)
  switch (dice.below(9)) {
    case 0: return text.slice(0, at) + String.fromCharCode(((text.charCodeAt(at) || 0) ^ (1 << dice.below(8))) & 0xff) + text.slice(at + 1)
    case 1: return text.slice(0, at) + text.slice(at + span)
    case 2: return text.slice(0, at) + text.slice(at, at + span).repeat(1 + dice.below(dice.below(8) === 0 ? 200 : 3)) + text.slice(at)
    case 3: return text.slice(0, at) + dice.of(SPECIAL) + text.slice(at)
    case 4: return text.slice(0, at) + dice.of(SPECIAL) + text.slice(at + 1)
    case 5: return words.length === 0 ? text : text.slice(0, at) + dice.of(words) + text.slice(at + (dice.below(2) === 0 ? 0 : span))
    case 6: {
      const other = dice.of(corpus)
      const from = dice.below(other.length + 1)
      return text.slice(0, at) + other.slice(from, from + span * 4) + text.slice(at)
    }
    case 7: return text.slice(0, at)
    default: {
      const to = dice.below(text.length + 1)
      const piece = text.slice(at, at + span)
      const rest = text.slice(0, at) + text.slice(at + span)
      return rest.slice(0, to) + piece + rest.slice(to)
    }
  }
}
