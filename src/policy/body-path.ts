/**
 * A step of a body path: a key, the items of an array (`[]`), or everything below (`.*`, last only).
 * Keys that hold `.`, `[`, `]`, `*` or `"`, and the empty key, are written as JSON strings in brackets,
 * `profile["a.b"]`, so that a key with a dot in it is never mistaken for two keys.
 */
export type Step = { readonly kind: 'key', readonly key: string } | { readonly kind: 'items' } | { readonly kind: 'subtree' }

export const ITEMS: Step = { kind: 'items' }
const SUBTREE: Step = { kind: 'subtree' }
const BARE = /[^.[\]*"]+/y
const QUOTED = /\["(?:[^"\\]|\\.)*"\]/y

/**
 * Reads a path as policies write it: `profile.login`, `groupIds[]`, `profile.*`, `profile["a.b"]`.
 *
 * @returns its steps, or a text that says what is wrong
 */
export function parseBodyPath (text: string): readonly Step[] | string {
  const steps: Step[] = []
  let at = 0
  while (at < text.length) {
    if (steps.at(-1)?.kind === 'subtree') return 'has something after .*'
    if (text.startsWith('[]', at)) { steps.push(ITEMS); at += 2; continue }
    QUOTED.lastIndex = at
    const quoted = QUOTED.exec(text)?.[0]
    if (quoted !== undefined) {
      const key = unquote(quoted.slice(1, -1))
      if (key === undefined) return 'has a key in brackets that is no JSON string'
      steps.push({ kind: 'key', key })
      at += quoted.length
      continue
    }
    if (text[at] === '.') {
      if (at === 0) return 'starts with a dot'
      at += 1
    } else if (at > 0) return 'needs a dot between keys'
    if (text[at] === '*') { steps.push(SUBTREE); at += 1; continue }
    BARE.lastIndex = at
    const key = BARE.exec(text)?.[0]
    if (key === undefined) return 'has an empty key or a character that belongs into ["…"]'
    steps.push({ kind: 'key', key })
    at += key.length
  }
  return steps.length === 0 ? 'is empty' : steps
}

/** Writes a path as `parseBodyPath` reads it. */
export function formatBodyPath (steps: readonly Step[]): string {
  let text = ''
  for (const step of steps) {
    if (step.kind === 'items') text += '[]'
    else text = appendKey(text, step.kind === 'subtree' ? '*' : step.key, step.kind === 'subtree')
  }
  return text
}

/**
 * The leaf paths of a JSON value, each once, in order of appearance. Scalars, null, and empty objects and
 * arrays are leaves; the empty object as the whole body has none, any other leaf as the whole body has the
 * path ``. Names only, never values: what `observe` logs and `learn` reads.
 *
 * @param value the parsed body
 * @param limit most paths that are returned
 */
export function leafPaths (value: unknown, limit = Infinity): string[] {
  const found = new Set<string>()
  collect(value, '', found, limit)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) found.delete('')
  return [...found]
}

function collect (value: unknown, path: string, found: Set<string>, limit: number): void {
  if (found.size >= limit) return
  if (Array.isArray(value) && value.length > 0) {
    for (const item of value) collect(item, path + '[]', found, limit)
    return
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const keys = Object.keys(value)
    for (const key of keys) collect((value as Record<string, unknown>)[key], appendKey(path, key, false), found, limit)
    if (keys.length > 0) return
  }
  found.add(path)
}

/** Adds a key to the text of a path. */
export function appendKey (path: string, key: string, verbatim = false): string {
  if (!verbatim && (key === '' || /[.[\]*"]/.test(key))) return `${path}[${JSON.stringify(key)}]`
  return path === '' ? key : `${path}.${key}`
}

function unquote (text: string): string | undefined {
  try {
    const key: unknown = JSON.parse(text)
    return typeof key === 'string' ? key : undefined
  } catch {
    return undefined
  }
}
