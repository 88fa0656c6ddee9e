/** Keys and indexes from the root of a file. */
type Path = readonly (string | number)[]

/** A file that is written plainly: its value, and where each part of it stands. */
export interface PlainYaml {
  readonly value: Readonly<Record<string, unknown>>
  /** offset of the value at `path`, or of its key; of the nearest parent when it does not exist */
  offset: (path: Path, what: 'value' | 'key') => number
}

/** Printable ASCII and common letters and signs beyond it, on lines that end in a line feed. */
const KNOWN_TEXT = /^[\n\x20-\x7e\u00a1-\u00ac\u00ae-\u1fff\u2010-\u2027\u2030-\u205e]*$/
const KEY = /([A-Za-z_][A-Za-z0-9_.*-]{0,99}|'[^'\n]{1,100}'|"[^"\\\n]{1,100}"):(?=[ \n]|$)/y
const SINGLE_QUOTED = /'[^'\n]*'(?!')/y
const DOUBLE_QUOTED = /"[^"\\\n]*"/y
const PLAIN_START = /[A-Za-z0-9/_]|\.\.?\//y
const FLOW_PLAIN = /(?:[A-Za-z0-9/_]|\.\.?\/)(?:[A-Za-z0-9/_.@%*+=?()<>^$;~&|!-]|:(?=[A-Za-z0-9/])| +(?=[A-Za-z0-9/_]))*/y
/** What else the core schema may take for a number. */
const NUMERIC = /^(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+)$/
const WHOLE = /^(?:0|[1-9][0-9]{0,14})$/
const NOT_TEXT: ReadonlySet<string> = new Set(['null', 'Null', 'NULL', 'True', 'TRUE', 'False', 'FALSE'])
/** Keys that both kinds of file refuse. */
const REFUSED_KEYS: ReadonlySet<string> = new Set(['__proto__', '<<'])
const DEEPEST = 20

/** The text has something that is not read here. */
class NotPlain extends Error {}

/**
 * Reads the YAML that nearly every file is written in: block maps and lists, values and `{ … }`, `[ … ]` on one line, quotes
 * without escapes, comments. A first load of a hundred policies is mostly the parsing library's time, and this takes a
 * tenth of it. Everything else is left to that library: other characters, several lines to a value, escapes, anchors,
 * tags, empty values, keys that come twice, whatever is wrong. What is read here the library reads alike, places
 * included; test/domain/yaml.test.ts holds one against the other.
 *
 * @returns undefined for what the library has to read
 */
export function readPlainYaml (text: string): PlainYaml | undefined {
  if (!KNOWN_TEXT.test(text)) return undefined
  let places: Places
  try {
    places = readPlaces(text, FIRST_DEPTH)
  } catch (error) {
    if (error instanceof NotPlain) return undefined
    throw error
  }
  return {
    value: places.root,
    offset (path, what) {
      if (path.length > places.depth) places = readPlaces(text, DEEPEST + 1)
      return offsetOf(places, path, what)
    }
  }
}

/** Places are kept down to a list's items: nearly every file is asked for one of those. For deeper ones it is read again. */
const FIRST_DEPTH = 2

interface Places { readonly root: Record<string, unknown>, readonly start: number, readonly depth: number, readonly of: PlaceMap }
type PlaceMap = Map<object, Map<string | number, Place>>
interface Place { readonly key: number, readonly value: number, readonly item: unknown }

function readPlaces (text: string, depth: number): Places {
  const of: PlaceMap = new Map()
  const reader = new Reader(text, of, depth)
  const root = reader.root()
  return { root, start: reader.start, depth, of }
}

function offsetOf ({ root, start, of }: Places, path: Path, what: 'value' | 'key'): number {
  let node: unknown = root
  let offset = start
  for (const [i, step] of path.entries()) {
    if (typeof node !== 'object' || node === null) return offset
    const place = of.get(node)?.get(Array.isArray(node) ? Number(step) : step)
    // A list has no such item: what stands behind it stands nowhere either, and the list is named.
    if (place === undefined) return offset
    node = place.item
    offset = what === 'key' && i === path.length - 1 ? place.key : place.value
  }
  return offset
}

class Reader {
  readonly #text: string
  readonly #places: PlaceMap
  /** how long the paths of noted places are at most */
  readonly #depth: number
  /** first character of the line, or of the rest of it, that is read next; its column; where its line ends */
  #at = 0
  #column = -1
  #lineEnd = -1
  /** where the first key stands */
  start = 0

  constructor (text: string, places: PlaceMap, depth: number) {
    this.#text = text
    this.#places = places
    this.#depth = depth
  }

  root (): Record<string, unknown> {
    this.#nextLine()
    this.start = this.#at
    const value = this.#map(0, 0)
    if (Object.keys(value).length === 0) throw new NotPlain()
    return value
  }

  /** Goes to the next line that says something; column -1: there is none. */
  #nextLine (): void {
    const text = this.#text
    for (;;) {
      const begin = this.#lineEnd + 1
      if (begin >= text.length) { this.#column = -1; return }
      const end = text.indexOf('\n', begin)
      this.#lineEnd = end < 0 ? text.length : end
      let at = begin
      while (text.charCodeAt(at) === SPACE) at++
      if (at >= this.#lineEnd || text.charCodeAt(at) === HASH) continue
      this.#at = at
      this.#column = at - begin
      return
    }
  }

  /** A block map whose keys stand in a column; the first is read next. */
  #map (column: number, depth: number): Record<string, unknown> {
    if (depth > DEEPEST) throw new NotPlain()
    const map: Record<string, unknown> = {}
    while (this.#column === column) {
      const keyAt = this.#at
      const key = this.#key(map)
      const valueAt = this.#at = this.#skipSpaces(this.#at)
      if (this.#ended(valueAt)) {
        this.#nextLine()
        const deeper = this.#column > column
        if (!deeper && !(this.#column === column && this.#isItem())) throw new NotPlain()
        const begin = this.#at
        map[key] = this.#isItem() ? this.#list(this.#column, depth + 1) : this.#map(this.#column, depth + 1)
        this.#note(map, depth, key, keyAt, begin, map[key])
      } else {
        map[key] = this.#lineValue(depth)
        this.#note(map, depth, key, keyAt, valueAt, map[key])
      }
      if (this.#column > column) throw new NotPlain()
    }
    return map
  }

  /** A block list whose dashes stand in a column. */
  #list (column: number, depth: number): unknown[] {
    if (depth > DEEPEST) throw new NotPlain()
    const list: unknown[] = []
    while (this.#column === column && this.#isItem()) {
      const itemAt = this.#at = this.#skipSpaces(this.#at + 1)
      if (this.#ended(itemAt)) throw new NotPlain()
      KEY.lastIndex = itemAt
      if (KEY.test(this.#text)) {
        const inner = itemAt - (this.#text.lastIndexOf('\n', itemAt) + 1)
        this.#column = inner
        list.push(this.#map(inner, depth + 1))
      } else {
        list.push(this.#lineValue(depth))
      }
      this.#note(list, depth, list.length - 1, itemAt, itemAt, list.at(-1))
      if (this.#column > column) throw new NotPlain()
    }
    return list
  }

  #isItem (): boolean {
    return this.#text.charCodeAt(this.#at) === DASH && this.#text.charCodeAt(this.#at + 1) === SPACE
  }

  /** A key of the map, which must not have it yet; leaves the place behind the colon. */
  #key (map: object): string {
    KEY.lastIndex = this.#at
    const written = KEY.exec(this.#text)?.[1]
    if (written === undefined) throw new NotPlain()
    this.#at = KEY.lastIndex
    const quoted = written.charCodeAt(0) === SINGLE || written.charCodeAt(0) === DOUBLE
    const key = quoted ? written.slice(1, -1) : written
    if (REFUSED_KEYS.has(key) || Object.hasOwn(map, key) || (!quoted && (NOT_TEXT.has(key) || key === 'true' || key === 'false'))) throw new NotPlain()
    return key
  }

  /** The value that fills the rest of the line; goes to the next line. */
  #lineValue (depth: number): unknown {
    const text = this.#text
    const first = text.charAt(this.#at)
    if (this.#isPlain()) {
      const rest = text.slice(this.#at, this.#lineEnd)
      const comment = rest.indexOf(' #')
      const plain = (comment < 0 ? rest : rest.slice(0, comment)).trimEnd()
      if (plain.includes(': ') || plain.endsWith(':')) throw new NotPlain()
      const value = scalar(plain)
      this.#nextLine()
      return value
    }
    const value = this.#enclosed(first, depth)
    if (!this.#ended(this.#skipSpaces(this.#at), this.#at)) throw new NotPlain()
    this.#nextLine()
    return value
  }

  /** A value in quotes or brackets; leaves the place behind it. */
  #enclosed (first: string, depth: number): unknown {
    if (first === '[') return this.#flowList(depth + 1)
    if (first === '{') return this.#flowMap(depth + 1)
    if (first === '\'') return detached(this.#match(SINGLE_QUOTED).slice(1, -1))
    if (first === '"') return detached(this.#match(DOUBLE_QUOTED).slice(1, -1))
    throw new NotPlain()
  }

  #flowValue (depth: number): unknown {
    const first = this.#text.charAt(this.#at)
    return this.#isPlain() ? scalar(this.#match(FLOW_PLAIN)) : this.#enclosed(first, depth)
  }

  #flowList (depth: number): unknown[] {
    if (depth > DEEPEST) throw new NotPlain()
    const list: unknown[] = []
    this.#at = this.#skipSpaces(this.#at + 1)
    if (this.#takes(']')) return list
    for (;;) {
      const itemAt = this.#at
      list.push(this.#flowValue(depth))
      this.#note(list, depth, list.length - 1, itemAt, itemAt, list.at(-1))
      if (this.#endsOrGoesOn(']')) return list
    }
  }

  #flowMap (depth: number): Record<string, unknown> {
    if (depth > DEEPEST) throw new NotPlain()
    const map: Record<string, unknown> = {}
    this.#at = this.#skipSpaces(this.#at + 1)
    if (this.#takes('}')) return map
    for (;;) {
      const keyAt = this.#at
      const key = this.#key(map)
      const valueAt = this.#at = this.#skipSpaces(this.#at)
      map[key] = this.#flowValue(depth)
      this.#note(map, depth, key, keyAt, valueAt, map[key])
      if (this.#endsOrGoesOn('}')) return map
    }
  }

  /** Behind a value in brackets: true after the closing one, false after a comma. */
  #endsOrGoesOn (close: string): boolean {
    this.#at = this.#skipSpaces(this.#at)
    if (this.#takes(close)) return true
    if (!this.#takes(',')) throw new NotPlain()
    this.#at = this.#skipSpaces(this.#at)
    return false
  }

  #isPlain (): boolean {
    PLAIN_START.lastIndex = this.#at
    return PLAIN_START.test(this.#text)
  }

  #takes (character: string): boolean {
    if (this.#text.charAt(this.#at) !== character) return false
    this.#at++
    return true
  }

  #match (pattern: RegExp): string {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    if (found === undefined) throw new NotPlain()
    this.#at = pattern.lastIndex
    return found
  }

  #skipSpaces (from: number): number {
    let at = from
    while (this.#text.charCodeAt(at) === SPACE) at++
    return at
  }

  /** Nothing but a comment is left of the line; `behind`: where its last value ended, which a comment must not touch. */
  #ended (at: number, behind = at - 1): boolean {
    return at >= this.#lineEnd || (this.#text.charCodeAt(at) === HASH && at > behind)
  }

  #note (collection: object, depth: number, step: string | number, key: number, value: number, item: unknown): void {
    if (depth >= this.#depth) return
    let places = this.#places.get(collection)
    if (places === undefined) this.#places.set(collection, places = new Map())
    places.set(step, { key, value, item })
  }
}

const SPACE = 0x20
const HASH = 0x23
const DASH = 0x2d
const SINGLE = 0x27
const DOUBLE = 0x22

/** A value without quotes, by the core schema of YAML 1.2. */
function scalar (plain: string): unknown {
  const first = plain.charCodeAt(0)
  if (first >= 0x30 && first <= 0x39) {
    if (WHOLE.test(plain)) return Number(plain)
    if (NUMERIC.test(plain)) throw new NotPlain()
  } else if (plain.length < 6) {
    if (plain === 'true') return true
    if (plain === 'false') return false
    if (NOT_TEXT.has(plain)) throw new NotPlain()
  }
  return detached(plain)
}

/** A longer text is a slice otherwise, which would keep the text of the whole file. */
function detached (text: string): string {
  return text.length < 13 ? text : Buffer.from(text).toString()
}
