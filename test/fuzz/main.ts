import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { parseArgs } from 'node:util'
import { fuzz } from './engine.js'
import { withRecorded } from './recorded.js'
import { allTargets } from './targets/all.js'

const { values } = parseArgs({ options: { target: { type: 'string', default: 'all' }, iterations: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' }, corpus: { type: 'string' } } })

const all = await allTargets()
const chosen = values.target === 'all' ? all : all.filter(({ name }) => values.target.split(',').includes(name))
if (chosen.length === 0) {
  console.error(`there is no target ${values.target}; known: ${all.map(({ name }) => name).join(', ')}`)
  process.exit(2)
}
const recorded = values.corpus === undefined ? undefined : gunzipSync(readFileSync(values.corpus)).toString('utf8').split('\n').filter(line => line !== '')
const shares = chosen.reduce((sum, { share }) => sum + share, 0)
let found = 0
for (const target of chosen) {
  const iterations = Math.max(1, Math.round(Number(values.iterations) * target.share / shares))
  const run = await fuzz(recorded === undefined ? target : withRecorded(target, recorded), { iterations, seed: Number(values.seed), timed: true })
  found += run.findings.length
  console.log(`${new Date().toISOString()} ${run.target} seed ${values.seed} iterations ${run.iterations} per second ${Math.round(run.iterations / run.seconds)} slowest ${run.slowestMs.toFixed(1)} ms findings ${run.findings.length}`)
  for (const finding of run.findings) console.log(JSON.stringify(finding))
}
process.exitCode = found === 0 ? 0 : 1
