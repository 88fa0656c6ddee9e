import fc from 'fast-check'

/** One thing that reads hostile bytes, and what must hold whatever they are. */
export interface FuzzTarget {
  readonly name: string
  /** what must hold, in a sentence */
  readonly property: string
  /** part of a run over all targets: the quick ones get most of it */
  readonly share: number
  /** inputs that are nearly right; each character is a byte */
  readonly structured: fc.Arbitrary<string>
  /** what the byte mutator starts from */
  readonly corpus: readonly string[]
  /** what it puts in, beside bytes */
  readonly words: readonly string[]
  /** a longer time for one input is a finding, milliseconds; only where asked for: a busy machine makes everything slow */
  readonly slowMs: number
  /** Throws when the property does not hold. */
  check: (input: string) => void | Promise<void>
}

export const bytesOf = (input: string): Buffer => Buffer.from(input, 'latin1')

/** Pieces, one after the other: most of what breaks parsers is right pieces in a wrong order. */
export function pieces (words: readonly string[], maxLength = 12): fc.Arbitrary<string> {
  return fc.array(fc.constantFrom(...words), { maxLength }).map(parts => parts.join(''))
}

/** Any bytes at all, now and then. */
export const anyBytes = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map(code => String.fromCharCode(code)), maxLength: 60 })
