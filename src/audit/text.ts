// What JSON can't hold as it is (RFC 8259 section 7), and all that is no plain ASCII.
const NEEDS_ESCAPE = /[^\x20-\x21\x23-\x5b\x5d-\x7e]/

// What a terminal obeys (C1), what turns or hides the text around it (bidi and other format characters), line ends of
// some consumers: names that clients chose stand in a log as escapes where they could be read as something else.
const DECEIVES = /[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu

/** A JSON string. The check costs less than JSON.stringify, and almost no text needs it. */
export function quote (value: string): string {
  return NEEDS_ESCAPE.test(value) ? JSON.stringify(value).replace(DECEIVES, escaped) : '"' + value + '"'
}

/** One or two `\uXXXX`. */
function escaped (character: string): string {
  let text = ''
  for (let i = 0; i < character.length; i++) text += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`
  return text
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
