import { RE2JS } from 're2js'
import safeRegex from 'safe-regex2'

/** A compiled pattern. `source` is what the operator wrote. */
export interface Pattern {
  readonly source: string
  readonly expression: RE2JS
}

/**
 * Compiles a pattern of a policy. It is matched by RE2 (linear time) against the whole value, wrapped as
 * `^(?:…)$`. Refused: what RE2 or JavaScript does not take (so that it means the same to every reader), and
 * what `safe-regex2` calls unsafe, because patterns get copied into engines that backtrack.
 *
 * @returns the pattern, or a text that says what is wrong
 */
export function compilePattern (source: string): Pattern | string {
  try {
    new RegExp(`^(?:${source})$`, 'u') // eslint-disable-line no-new
    // Alone too: `a)|(?:b` is balanced only inside the wrapping, and would escape it.
    new RegExp(source, 'u') // eslint-disable-line no-new
  } catch (error) {
    return `is not a regular expression (${reason(error)})`
  }
  if (!safeRegex(source)) return 'can backtrack catastrophically (a repetition inside a repetition)'
  try {
    RE2JS.compile(source)
    return { source, expression: RE2JS.compile(`^(?:${source})$`) }
  } catch (error) {
    return `is not a pattern of linear time: RE2 refuses it (${reason(error)})`
  }
}

/** True when the whole value matches. */
export function matches (pattern: Pattern, value: string): boolean {
  return pattern.expression.testExact(value)
}

function reason (error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.split('\n', 1)[0]!.replace(/^Invalid regular expression: /, '')
}
