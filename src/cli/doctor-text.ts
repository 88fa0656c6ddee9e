import { printable } from '../domain/printable.js'
import type { Finding } from './doctor-finding.js'
import { count, fit, type Paint } from './style.js'

const WORDS = { pass: ['green', 'pass'], fail: ['red', 'FAIL'], unknown: ['yellow', '?'] } as const
const NAME = 28

/** The findings as a table for a terminal; what failed says how to fix it. */
export function findingsText (findings: readonly Finding[], counts: Record<Finding['verdict'], number>, paint: Paint): string {
  const lines: string[] = []
  let part: string | undefined
  for (const { upstream, check, rule, verdict, what, fix, reads } of findings) {
    const name = upstream === undefined ? 'policies and limits' : `upstream ${upstream}`
    if (name !== part) lines.push(...part === undefined ? [] : [''], paint('bold', name))
    part = name
    const [tone, word] = WORDS[verdict]
    lines.push(`  ${paint(tone, word.padEnd(6))}${fit(check, NAME)}${rule === undefined ? '        ' : `rule ${String(rule).padEnd(3)}`}${clean(what)}`)
    const indent = ' '.repeat(8 + NAME + 8)
    if (verdict !== 'pass' && fix !== undefined) lines.push(indent + paint('cyan', `→ ${clean(fix)}`))
    if (reads.length > 0) lines.push(indent + paint('dim', `reads ${reads.join(', ')}`))
  }
  lines.push('', `${count(findings.length, 'check')}: ${counts.pass} passed, ${counts.fail} failed, ${counts.unknown} can't be told`)
  return `${lines.join('\n')}\n`
}

/** Names and labels come from the org. */
function clean (text: string): string {
  return printable(text).replaceAll('\n', ' ')
}
