import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { formatProblem } from '../../src/domain/problem.js'
import { loadEverything, LoadMemory } from '../../src/server/load.js'

const CONFIG = `publicUrl: https://gate.example.com
upstreams:
  default: { org: https://acme.okta.com, credential: { serviceApp: { clientId: 0oa1, keys: [{ env: KEY }] } } }
`
const policy = (client: string, key: string, more = '') => `version: 1
client: ${client}
owner: team@example.com
description: a client of this test
authenticate: [{ apiKey: { sha256: ${key.repeat(64)} } }]
allow: [{ operation: getUser }]
${more}`

t.test('a load that does not read what is as it was says what one that reads all of it says', async t => {
  const folder = t.testdir({})
  const policies = join(folder, 'policies')
  const file = join(folder, 'narrowgate.yaml')
  writeFileSync(file, CONFIG)
  mkdirSync(join(policies, 'sets'), { recursive: true })
  const write = (name: string, text: string) => { writeFileSync(join(policies, name), text) }
  write('a.yaml', policy('a', 'a'))
  write('b.yaml', policy('b', 'b', 'extends: [sets/read.yaml]\n'))
  write('sets/read.yaml', 'version: 1\ndescription: a set of this test\nallow: [{ operation: listUsers }]\n')
  // Files that were written a moment ago are never trusted.
  const memory = new LoadMemory(() => Date.now() + 10_000)
  const now = Date.now()
  const load = async (known?: LoadMemory) => {
    const { hash, problems, policies: found } = await loadEverything(file, {}, now, { withSecrets: false, memory: known })
    return { hash, problems: problems.map(formatProblem), clients: [...found?.clients.keys() ?? []] }
  }
  const changes: Array<[what: string, change: () => void, expected: RegExp]> = [
    ['nothing', () => {}, /^$/],
    ['a third policy', () => { write('c.yaml', policy('c', 'c')) }, /^$/],
    ['the client of another file that did not change', () => { write('c.yaml', policy('a', 'c')) }, /the client "a" has a policy already/],
    ['still wrong', () => {}, /the client "a" has a policy already/],
    ['the key of another file that did not change', () => { write('c.yaml', policy('c', 'b')) }, /this key is in use already; at policies\/b\.yaml:5:36/],
    ['put right', () => { write('c.yaml', policy('c', 'c')) }, /^$/],
    ['a broken set below a policy that did not change', () => { write('sets/read.yaml', 'version: 1\nallow: 5\n') }, /sets\/read\.yaml/],
    ['without the set', () => { rmSync(join(policies, 'sets/read.yaml')) }, /b\.yaml/],
    ['no UTF-8', () => { writeFileSync(join(policies, 'a.yaml'), Buffer.from([0x61, 0xff])) }, /a\.yaml:1:2 is not valid UTF-8/],
    ['again', () => {}, /a\.yaml:1:2 is not valid UTF-8/]
  ]
  for (const [what, change, expected] of changes) {
    change()
    const fresh = await load()
    t.match(fresh.problems.filter(problem => !problem.includes(' warning: ')).join('\n'), expected, what)
    t.same(await load(memory), fresh, `${what}: the same`)
    t.same(await load(memory), fresh, `${what}: and once more`)
  }
})
