// Prints tap's count as 'N passed, N failed' and fails when a test file on disk did not run.
import { readFileSync, readdirSync } from 'node:fs'

const text = readFileSync(process.argv[2], 'utf8')
const ran = new Set([...text.matchAll(/^(?:not )?ok \d+ - (test\/\S+\.test\.ts)/gm)].map(match => match[1]))
const present = readdirSync('test', { recursive: true }).filter(name => name.endsWith('.test.ts')).map(name => `test/${name}`)
const missing = present.filter(name => !ran.has(name))
const totals = /^# \{ total: (\d+), pass: (\d+)(?:, fail: (\d+))?/m.exec(text)
if (totals === null || missing.length > 0) {
  console.error(totals === null ? 'tap printed no total' : `these test files did not run: ${missing.join(', ')}`)
  console.log('0 passed, 1 failed')
  process.exit(1)
}
const failed = Number(totals[3] ?? 0)
console.log(`${totals[2]} passed, ${failed} failed`)
if (failed > 0) process.exit(1)
