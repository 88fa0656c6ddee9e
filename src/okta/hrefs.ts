import { oddlyOrgs, orgOriginLength, type Origins } from './origins.js'

/** A JSON object or array that is being read. */
interface Frame {
  readonly array: boolean
  /** at or below a member named `_links` */
  readonly linked: boolean
  key: string
  /** the next string is a member's name */
  expectsKey: boolean
}

/**
 * Rewrites the `href` strings under `_links`, at any depth and in arrays of links too, from the org's origins to the
 * gate's. okta-auth-js follows them in /authn answers. Only the origin's bytes change: nothing is re-serialised.
 *
 * @returns the new bytes; undefined when nothing changes, which is also the answer to what is not JSON
 */
export function rewriteHrefs (json: string | Buffer, origins: Origins): Buffer | undefined {
  // A member's name is spelled in other ways only with a backslash.
  if (!json.includes('_links') && !json.includes('\\')) return undefined
  // latin1 keeps every byte a character of its own; JSON's structure is ASCII.
  const text = (typeof json === 'string' ? Buffer.from(json) : json).toString('latin1')
  if (!isJson(text)) return undefined
  let out = ''
  let copied = 0
  for (const { start, end } of linkedHrefs(text)) {
    const replaced = replacement(text.slice(start, end), origins)
    if (replaced === undefined) continue
    out += text.slice(copied, start) + replaced
    copied = end
  }
  return copied === 0 ? undefined : Buffer.from(out + text.slice(copied), 'latin1')
}

function isJson (text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Places of the string values (without their quotes) of `href` under `_links`. The text is known to be JSON. */
function * linkedHrefs (text: string): Generator<{ start: number, end: number }> {
  const stack: Frame[] = []
  const escapes = text.includes('\\')
  for (let i = 0; i < text.length; i++) {
    const frame = stack[stack.length - 1]
    switch (text[i]) {
      case '{':
      case '[':
        stack.push(open(text[i] === '[', frame))
        break
      case '}':
      case ']':
        stack.pop()
        break
      case ',':
        if (frame !== undefined) frame.expectsKey = !frame.array
        break
      case '"': {
        const end = escapes ? endOfString(text, i) : text.indexOf('"', i + 1)
        if (frame?.expectsKey === true) {
          frame.key = unescape(text.slice(i + 1, end))
          frame.expectsKey = false
        } else if (frame?.linked === true && !frame.array && frame.key === 'href') {
          yield { start: i + 1, end }
        }
        i = end
      }
    }
  }
}

function open (array: boolean, parent: Frame | undefined): Frame {
  const linked = parent !== undefined && (parent.linked || (!parent.array && parent.key === '_links'))
  return { array, linked, key: '', expectsKey: !array }
}

function endOfString (text: string, start: number): number {
  let i = start + 1
  while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1
  return i
}

function unescape (raw: string): string {
  return raw.includes('\\') ? JSON.parse(`"${raw}"`) as string : raw
}

/** The string's raw text with another origin, in the spelling of slashes that it has. */
function replacement (raw: string, origins: Origins): string | undefined {
  const url = unescape(raw)
  const length = orgOriginLength(url, origins)
  if (length === undefined) {
    const odd = oddlyOrgs(raw.includes('\\') ? url : Buffer.from(raw, 'latin1').toString(), origins)
    return odd === undefined ? undefined : JSON.stringify(odd).slice(1, -1)
  }
  const end = rawLength(raw, length)
  const origin = raw.slice(0, end).includes('\\/') ? origins.publicOrigin.replaceAll('/', '\\/') : origins.publicOrigin
  return origin + raw.slice(end)
}

/** How much of a raw string spells its first `characters` characters. */
function rawLength (raw: string, characters: number): number {
  let i = 0
  for (let n = 0; n < characters; n++) i += raw[i] !== '\\' ? 1 : raw[i + 1] === 'u' ? 6 : 2
  return i
}
