const DEEPEST = 200
const DEEP_LINE = /(?:[-?:][ \t]+){100}|^[ \t]{1000}/m

/**
 * Whether a YAML text is nested so deeply that no parser should see it: some thousand nested collections take the
 * library seconds, or the process with it (it builds regular expressions and recurses, and where its stack ends is not
 * the same twice). Brackets in quotes count: no policy and no configuration comes near.
 */
export function isTooDeep (text: string): boolean {
  if (DEEP_LINE.test(text)) return true
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x5b || code === 0x7b) depth++
    else if ((code === 0x5d || code === 0x7d) && depth > 0) depth--
    if (depth > DEEPEST) return true
  }
  return false
}
