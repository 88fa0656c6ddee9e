// What JSON can't hold as it is, and what some consumers of lines take for a line's end (RFC 8259 section 7; U+2028, U+2029).
const NEEDS_ESCAPE = /[^\x20-\x21\x23-\x5b\x5d-\x7e]/

/** A JSON string. The check costs less than JSON.stringify, and almost no text needs it. */
export function quote (value: string): string {
  return NEEDS_ESCAPE.test(value) ? JSON.stringify(value).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029') : '"' + value + '"'
}

/** `,"key":"value"`, or nothing. */
export function text (key: string, value: string | undefined): string {
  return value === undefined ? '' : key + quote(value)
}

/** The same for what needs no quotes. */
export function plain (key: string, value: number | boolean | undefined): string {
  return value === undefined ? '' : key + value
}

export function list (key: string, values: readonly string[] | undefined): string {
  return values === undefined ? '' : key + '[' + values.map(quote).join(',') + ']'
}

/** Many events begin in the same millisecond: the text is made once for them. */
export function isoTime (): (ms: number) => string {
  let last = Number.NaN
  let made = ''
  return ms => {
    if (ms !== last) {
      made = new Date(ms).toISOString()
      last = ms
    }
    return made
  }
}
