/** Most samples of a pattern, and of each part of it. */
const MOST = 80
const ANY_CHARACTER = ['a', 'b', '0', 'A', '-', '_', 'z', '9']

/**
 * Texts that a pattern is likely to match, made from its structure: each alternative, the ends of each range, the
 * fewest and some more repetitions. What the reader of patterns here does not know it leaves out, so every sample has
 * to be tried against the pattern itself.
 */
export function samplesOf (source: string): readonly string[] {
  const reader: Reader = { source, at: 0 }
  return [...new Set(alternatives(reader))].slice(0, MOST)
}

interface Reader { readonly source: string, at: number }

function alternatives (reader: Reader): string[] {
  const branches: string[][] = [sequence(reader)]
  while (reader.source[reader.at] === '|') {
    reader.at++
    branches.push(sequence(reader))
  }
  const rounds = Math.max(...branches.map(branch => branch.length))
  return Array.from({ length: rounds }, (_, i) => branches.flatMap(branch => i < branch.length ? [branch[i]!] : [])).flat().slice(0, MOST)
}

function sequence (reader: Reader): string[] {
  let texts = ['']
  while (reader.at < reader.source.length && !'|)'.includes(reader.source[reader.at]!)) texts = joined(texts, repeated(reader, atom(reader)))
  return texts
}

/** Every pair while there are few; of many, each text once and each of its partners once. */
function joined (first: readonly string[], second: readonly string[]): string[] {
  if (first.length * second.length <= MOST) return first.flatMap(a => second.map(b => a + b))
  const most = Math.max(first.length, second.length)
  const pairs = Array.from({ length: most }, (_, i) => first[i % first.length]! + second[i % second.length]!)
  return [...new Set([...second.slice(0, MOST / 4).map(b => first[0]! + b), ...first.slice(0, MOST / 4).map(a => a + second[0]!), ...pairs])].slice(0, MOST)
}

function repeated (reader: Reader, texts: readonly string[]): string[] {
  const match = /^(?:([*+?])|\{(\d+)(,?)(\d*)\})\??/.exec(reader.source.slice(reader.at))
  if (match === null) return [...texts]
  reader.at += match[0].length
  const [, sign, least, comma, most] = match
  const from = sign === undefined ? Number(least) : sign === '+' ? 1 : 0
  const to = sign === undefined ? (comma === '' ? from : most === '' ? Infinity : Number(most)) : sign === '?' ? 1 : Infinity
  const counts = [...new Set([from, from + 1, from + 2, Math.min(to, from + 12)])].filter(count => count <= to && count <= 256)
  return [...new Set(counts.flatMap(count => times(texts, count)))].slice(0, MOST)
}

function times (texts: readonly string[], count: number): string[] {
  if (count > 3) return texts.map(text => text.repeat(count))
  let made = ['']
  for (let i = 0; i < count; i++) made = joined(made, texts)
  return made
}

function atom (reader: Reader): readonly string[] {
  const character = reader.source[reader.at++]!
  switch (character) {
    case '(': return inGroup(reader)
    case '[': return characterClass(reader)
    case '.': return ANY_CHARACTER
    case '^': case '$': return ['']
    case '\\': return escaped(reader)
    default: return [character]
  }
}

function inGroup (reader: Reader): string[] {
  const opening = /^\?(?::|P?<[^>]*>)/.exec(reader.source.slice(reader.at))
  reader.at += opening?.[0].length ?? 0
  const texts = alternatives(reader)
  reader.at++
  return texts
}

const CLASSES: Readonly<Record<string, readonly string[]>> = {
  d: ['0', '9', '5'], w: ['a', '0', '_', 'Z', 'b'], s: [' '], D: ['a', '-'], W: ['-', '.', '@'], S: ['a', '0', '-'], b: [''], B: [''], t: ['\t'], n: ['\n'], r: ['\r']
}

function escaped (reader: Reader): readonly string[] {
  const rest = reader.source.slice(reader.at)
  const code = /^(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|[ux]\{([0-9A-Fa-f]+)\})/.exec(rest)
  if (code !== null) {
    reader.at += code[0].length
    return [String.fromCodePoint(Number.parseInt(code[1] ?? code[2] ?? code[3]!, 16))]
  }
  const property = /^[pP](?:\{[^}]*\}|.)/.exec(rest)
  if (property !== null) {
    reader.at += property[0].length
    return ANY_CHARACTER
  }
  const character = reader.source[reader.at++] ?? ''
  return CLASSES[character] ?? [character]
}

function characterClass (reader: Reader): string[] {
  const negated = reader.source[reader.at] === '^'
  if (negated) reader.at++
  const members: string[] = []
  while (reader.at < reader.source.length && reader.source[reader.at] !== ']') {
    const [first] = member(reader, members)
    if (first === undefined || reader.source[reader.at] !== '-' || reader.source[reader.at + 1] === ']') continue
    reader.at++
    const [last] = member(reader, members)
    if (last !== undefined) members.push(...between(first, last))
  }
  reader.at++
  const wanted = negated ? [...'abz09AZ-_.@ ~+'].filter(each => !members.includes(each)) : [...new Set(members)]
  return wanted.slice(0, 12)
}

function member (reader: Reader, members: string[]): readonly string[] {
  const character = reader.source[reader.at++]!
  const texts = character === '\\' ? escaped(reader) : [character]
  members.push(...texts)
  return texts
}

function between (first: string, last: string): string[] {
  const [from, to] = [first.codePointAt(0)!, last.codePointAt(0)!]
  return [from + 1, from + 2, Math.floor((from + to) / 2)].filter(code => code > from && code < to).map(code => String.fromCodePoint(code))
}
