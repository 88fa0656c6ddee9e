import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { narrowgate } from './shell.js'

const guide = resolve('docs/policies-guide.md')
const fixtures = { 'operations.txt': 'test/cli/fixtures/operations.txt', 'policies/operations.yaml': 'policies/operations.yaml' }

interface Step { readonly command: string, readonly expected: readonly string[] }

/** The commands of the page's `console` blocks, each with the output that stands below it. */
function steps (markdown: string): Step[] {
  return [...markdown.matchAll(/^```console\n([^]*?)^```$/gm)].flatMap(([, block]) => block!.split(/^(?=\$ )/m).filter(part => part !== '').map(part => {
    const [command, ...expected] = part.trimEnd().split('\n') as [string, ...string[]]
    return { command: command.slice(2), expected }
  }))
}

/** Runs `narrowgate … [> FILE]` as a terminal shows it: stderr, then stdout. */
async function output (command: string): Promise<string[]> {
  const [, line, file] = /^narrowgate (.*?)(?: > (\S+))?$/.exec(command)!
  const { out, err } = await narrowgate(line!.split(' '))
  if (file !== undefined) writeFileSync(file, out)
  return (file === undefined ? err + out : err).trimEnd().split('\n').map(each => each.trimEnd())
}

/** The lines as the page has them: what stands between two of them may be left out as `…`. */
function shown (actual: readonly string[], expected: readonly string[]): string[] {
  const lines: string[] = []
  let at = 0
  for (const [i, line] of expected.entries()) {
    if (line !== '…') { lines.push(actual[at++] ?? '(no more output)'); continue }
    const next = expected[i + 1]
    const end = next === undefined ? actual.length : actual.indexOf(next, at)
    lines.push(end < 0 ? `(no line "${next}")` : '…')
    at = end < 0 ? at : end
  }
  return at < actual.length ? [...lines, ...actual.slice(at)] : lines
}

t.test('every transcript in docs/policies-guide.md is what the commands print', async t => {
  const all = steps(readFileSync(guide, 'utf8'))
  t.same(all.map(({ command }) => command.split(' ')[1]), ['import', 'check', 'entitlements'])
  const root = t.testdir({})
  mkdirSync(join(root, 'policies'))
  for (const [name, from] of Object.entries(fixtures)) writeFileSync(join(root, name), readFileSync(from))
  const before = process.cwd()
  process.chdir(root)
  t.teardown(() => { process.chdir(before) })
  for (const { command, expected } of all) t.same(shown(await output(command), expected), expected, command)
})
