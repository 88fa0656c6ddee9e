// node test/fuzz/run.mjs --target NAME[,NAME]|all --iterations N --seed S [--corpus FILE.jsonl.gz] [--built]: fuzzes the parsers, one record line a
// target, findings as JSON, exit 1 when there are any. `all` shares the iterations out, the quick targets getting most of them.
// Compiles src/ and test/fuzz/ to .fuzz/ first, unless told that this was done.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(fileURLToPath(import.meta.url), '../../..')
const argv = process.argv.slice(2)
const recorded = path.resolve(root, '../shared/corpus/corpus-python.jsonl.gz')
if (!argv.includes('--corpus') && existsSync(recorded)) argv.push('--corpus', recorded)
if (!argv.includes('--built')) {
  const compiled = spawnSync(process.execPath, [path.join(root, 'node_modules/typescript/bin/tsc'), '-p', path.join(import.meta.dirname, 'tsconfig.json')], { stdio: 'inherit' })
  if (compiled.status !== 0) process.exit(2)
}
process.exit(spawnSync(process.execPath, [path.join(root, '.fuzz/test/fuzz/main.js'), ...argv.filter(word => word !== '--built')], { stdio: 'inherit' }).status ?? 2)
