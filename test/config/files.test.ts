import t, { type Test } from 'tap'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createReader, FileMemory, hashSources } from '../../src/config/files.js'
import { createConfigLoader } from '../../src/config/load.js'
import { isLoadable, loadSources, type LoadedSources } from '../../src/config/sources.js'
import { watch, type WatchOptions } from '../../src/config/watch.js'
import { formatProblem } from '../../src/domain/problem.js'

const NOW = Date.UTC(2026, 10, 22)
const loadConfig = createConfigLoader()
const config = (key: string) => `publicUrl: https://gate.example.com
upstreams:
  default: { org: https://acme.okta.com, credential: { serviceApp: { clientId: 0oa1, keys: [${key}] } } }
`
const load = (folder: string, environment: Record<string, string> = {}, withSecrets = true) =>
  loadSources({ reader: createReader(), loadConfig, path: join(folder, 'narrowgate.yaml'), shown: 'etc/narrowgate.yaml', environment, now: NOW }, withSecrets)
const said = (loaded: LoadedSources) => loaded.problems.map(formatProblem)

t.test('the config, its policies and its secrets are read together', async t => {
  const folder = t.testdir({
    'narrowgate.yaml': config('{ file: key.pem }, { env: NEXT_KEY }, { file: $CREDENTIALS_DIRECTORY/third }'),
    'key.pem': 'first\n\n',
    credentials: { third: 'third\r\n' },
    policies: { 'b.yaml': 'b', 'a.yaml': 'ä', 'operations.yaml': 'o', '.hidden.yaml': 'x', 'README.md': 'x', sets: { 'r.yaml': 'r', deep: { 'd.yaml': 'd' } } }
  })
  chmodSync(join(folder, 'key.pem'), 0o600)
  chmodSync(join(folder, 'credentials/third'), 0o600)
  const loaded = await load(folder, { NEXT_KEY: 'second', CREDENTIALS_DIRECTORY: join(folder, 'credentials') })
  t.same(said(loaded), [])
  t.equal(isLoadable(loaded), true)
  t.same(loaded.policies.map(({ path, text }) => `${path} ${text}`), ['policies/a.yaml ä', 'policies/b.yaml b', 'policies/operations.yaml o', 'policies/sets/deep/d.yaml d', 'policies/sets/r.yaml r'])
  t.same([...loaded.secrets.values()].map(secret => secret.reveal()), ['first\n', 'second', 'third'], 'one newline at the end is not part of a secret')
  t.notMatch(JSON.stringify([...loaded.secrets]), /first|second|third\\r/)
  t.equal(loaded.hash, await hashSources(loaded.sources), 'the hash can be had again')
  t.same((await load(folder, {}, false)).problems, [], 'check needs no secrets')
})

t.test('what is wrong with a file or a secret has a place', async t => {
  const folder = t.testdir({
    'narrowgate.yaml': config('{ file: open.pem }, { file: missing.pem }, { env: UNSET }, { file: empty.pem }, { file: big.pem }, { file: binary.pem }, { file: $CREDENTIALS_DIRECTORY/x }, { file: policies }, { file: pipe }'),
    'open.pem': 'OPENSECRET',
    'empty.pem': ' \n',
    'big.pem': 'x'.repeat(70_000),
    'binary.pem': Buffer.from([0x42, 0xff, 0xfe]),
    policies: { 'latin.yaml': Buffer.from('version: 1\nowner: Jos\xe9', 'latin1'), 'big.yaml': 'x'.repeat(1024 * 1024 + 1), 'old.yml': 'x', archive: { 'a.yaml': 'x' }, 'folder.yaml': {} }
  })
  symlinkSync('nowhere', join(folder, 'policies/dangling.yaml'))
  symlinkSync('loop.yaml', join(folder, 'policies/loop.yaml'))
  execFileSync('mkfifo', [join(folder, 'pipe'), join(folder, 'policies/pipe.yaml')])
  chmodSync(join(folder, 'open.pem'), 0o644)
  const loaded = await load(folder)
  t.equal(isLoadable(loaded), false)
  const problems = said(loaded)
  const expected = [
    /^policies\/latin\.yaml:2:11 is not valid UTF-8$/,
    /^policies\/big\.yaml:1:1 it is larger than 1048576 bytes$/,
    /^policies\/old\.yml:1:1 warning: is not loaded: its name does not end in \.yaml; rename it to old\.yaml$/,
    /^policies\/archive\/a\.yaml:1:1 warning: is not loaded: only the policies folder itself/,
    /^policies\/dangling\.yaml:1:1 there is no such file/,
    /^policies\/loop\.yaml:1:1 its symbolic links go in a circle/,
    /^policies\/pipe\.yaml:1:1 it is no regular file/,
    /^etc\/narrowgate\.yaml:3:93 warning: .*open\.pem: every user of this machine may read it; set its mode/,
    /^etc\/narrowgate\.yaml:3:113 .*missing\.pem: there is no such file/,
    /^etc\/narrowgate\.yaml:3:136 the environment variable UNSET is not set/,
    /empty\.pem: it is empty/,
    /big\.pem: it is larger than 65536 bytes/,
    /binary\.pem: it is not text/,
    /CREDENTIALS_DIRECTORY is not set/,
    /policies: it is a folder, not a file/,
    /pipe: it is no regular file/
  ]
  for (const pattern of expected) t.ok(problems.some(problem => pattern.test(problem)), `${pattern} in\n${problems.join('\n')}`)
  t.equal(problems.length, expected.length)
  t.notMatch(problems.join(), /OPENSECRET/)

  t.match(said(await load(join(folder, 'nowhere'))), [/^etc\/narrowgate\.yaml:1:1 there is no such file/])
  const bare = t.testdir({ 'narrowgate.yaml': `policies: rules\n${config('{ env: K }')}` })
  t.match(said(await load(bare, { K: 'k' })), [/^etc\/narrowgate\.yaml:1:11 the policies folder cannot be read: there is no such/])
  mkdirSync(join(bare, 'rules'))
  const empty = await load(bare, { K: 'k' })
  t.match(said(empty), [/1:11 warning: the policies folder holds no policy: every call is refused/])
  t.equal(isLoadable(empty), true)
  t.match(said(await load(bare, { K: '' })), [/holds no policy/, /the environment variable K: it is empty/])
})

/** Counts the changes that a watch reports; each is followed by a load, as in the server. */
async function observe (t: Test, folder: string, options: Partial<WatchOptions> = {}) {
  let changes = 0
  const reload = async () => { const loaded = await load(folder, { K: 'k' }); watching.loaded(loaded.sources, loaded.hash) }
  const watching = watch({ debounceMs: 20, pollMs: 60_000, ...options, onChange: () => { changes++; reload().catch(error => t.fail(String(error))) } })
  t.teardown(() => watching.close())
  await reload()
  await sleep(150)
  return {
    async expect (name: string, wanted: number, change: () => void) {
      changes = 0
      change()
      const isDone = () => changes >= wanted
      for (let waited = 0; waited < 4000 && !isDone(); waited += 20) await sleep(20)
      await sleep(250)
      t.equal(changes, wanted, name)
    },
    close: () => watching.close()
  }
}

t.test('events: a change is told once, what changes nothing is not told', async t => {
  const folder = t.testdir({ 'narrowgate.yaml': config('{ file: secrets/key }'), secrets: { key: 'a' }, policies: { 'a.yaml': 'a', sets: { 's.yaml': 's' } } })
  const { expect, close } = await observe(t, folder)
  const policy = join(folder, 'policies/a.yaml')
  await expect('nothing', 0, () => {})
  await expect('written in place', 1, () => writeFileSync(policy, 'b'))
  await expect('written again, same size', 1, () => writeFileSync(policy, 'c'))
  await expect('written with the same text', 0, () => writeFileSync(policy, 'c'))
  await expect('touched', 0, () => utimesSync(policy, new Date(), new Date()))
  await expect('renamed over', 1, () => { writeFileSync(`${policy}.tmp`, 'd'); renameSync(`${policy}.tmp`, policy) })
  await expect('in pieces', 1, () => { for (let i = 0; i < 20; i++) writeFileSync(policy, 'd'.repeat(i + 2)) })
  await expect('a set', 1, () => writeFileSync(join(folder, 'policies/sets/s.yaml'), 't'))
  await expect('a new folder of sets', 1, () => { mkdirSync(join(folder, 'policies/sets/more')); writeFileSync(join(folder, 'policies/sets/more/m.yaml'), 'm') })
  await expect('a file in it', 1, () => writeFileSync(join(folder, 'policies/sets/more/m.yaml'), 'n'))
  await expect('a new policy', 1, () => writeFileSync(join(folder, 'policies/b.yaml'), 'b'))
  await expect('a removed one', 1, () => rmSync(join(folder, 'policies/b.yaml')))
  await expect('a secret', 1, () => writeFileSync(join(folder, 'secrets/key'), 'b'))
  await expect('a secret that is missing for a while', 1, () => rmSync(join(folder, 'secrets/key')))
  await expect('and comes back', 1, () => writeFileSync(join(folder, 'secrets/key'), 'c'))
  await expect('the config', 1, () => writeFileSync(join(folder, 'narrowgate.yaml'), `# new\n${config('{ file: secrets/key }')}`))
  await expect('a broken config', 1, () => writeFileSync(join(folder, 'narrowgate.yaml'), 'x'))
  await expect('repaired', 1, () => writeFileSync(join(folder, 'narrowgate.yaml'), config('{ file: secrets/key }')))
  await expect('policies are watched again', 1, () => writeFileSync(policy, 'after'))
  await expect('a stranger beside them', 0, () => writeFileSync(join(folder, 'audit.jsonl'), 'x'))
  close()
  await expect('after close', 0, () => writeFileSync(policy, 'closed'))
})

t.test('a file of the folder that is as it was is known without being read; whatever was done to it, it is read', async t => {
  const folder = t.testdir({ policies: { 'a.yaml': 'one', 'b.yaml': 'two', 'keys.json': '{}' } })
  const policies = join(folder, 'policies')
  const a = join(policies, 'a.yaml')
  const old = new FileMemory(() => Date.now() + 10_000)
  const look = async (memory: FileMemory) => {
    const reader = createReader(memory, file => file.endsWith('.yaml'))
    const { contents } = await reader.readFolder(policies)
    t.equal(reader.hash(), await hashSources(reader.sources), 'the hash is what reading all of them gives')
    return [...contents.values()].map(({ kind }) => kind).join(' ')
  }
  t.equal(await look(old), 'read read read')
  t.equal(await look(old), 'same same read', 'what is not trusted is read each time')
  const { mtime, atime } = statSync(a)
  const changes: Array<[string, () => void]> = [
    ['other text of the same length, and the time set back', () => { writeFileSync(a, 'eno'); utimesSync(a, atime, mtime) }],
    ['another file in its place', () => { writeFileSync(join(folder, 'new'), 'eno'); renameSync(join(folder, 'new'), a) }],
    ['another mode', () => { chmodSync(a, 0o600) }],
    ['a link to another file', () => { rmSync(a); writeFileSync(join(folder, 'else'), 'eno'); symlinkSync('../else', a) }],
    ['and that one changed', () => { writeFileSync(join(folder, 'else'), 'neo') }]
  ]
  for (const [what, change] of changes) {
    change()
    t.equal(await look(old), 'read same read', what)
    t.equal(await look(old), 'same same read', `${what}: known from then on`)
  }
  rmSync(a)
  t.equal(await look(old), 'same read', 'gone')
  symlinkSync('../else', a)
  t.equal(await look(old), 'same same read', 'and come back as it was')
  old.forget()
  t.equal(await look(old), 'read read read', 'forgotten')

  const young = new FileMemory(Date.now)
  writeFileSync(a, 'now')
  await look(young)
  t.match(await look(young), /^read /, 'what was written a moment ago may be written again within one time stamp')
})

t.test('a file is read to its end: over the size that was told, and where none is told', async t => {
  const folder = t.testdir({ 'big.yaml': 'x'.repeat(300_001), 'empty.yaml': '' })
  const reader = createReader()
  const lengthOf = async (path: string) => { const read = await reader.readFile(path); return read.kind === 'read' ? read.bytes.length : read.code }
  t.equal(await lengthOf(join(folder, 'big.yaml')), 300_001)
  t.equal(await lengthOf(join(folder, 'empty.yaml')), 0)
  t.ok(Number(await lengthOf('/proc/self/status')) > 100, 'its size is said to be 0')
  t.equal(await lengthOf(folder), 'EISDIR')
  t.equal(await lengthOf('/dev/null'), 'ENOTREG')
})

/** What kubelet does: a new folder, a new link, renamed over the old one; the files are links through it. */
function mountConfigMap (folder: string, version: number, files: Record<string, string>): void {
  const data = `..2026_11_22_${version}`
  mkdirSync(join(folder, data), { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, data, name), text)
  symlinkSync(data, join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  if (version === 1) for (const name of Object.keys(files)) symlinkSync(join('..data', name), join(folder, name))
  else rmSync(join(folder, `..2026_11_22_${version - 1}`), { recursive: true })
}

t.test('a ConfigMap is followed through every swap, by events alone', async t => {
  const folder = t.testdir({ policies: {} })
  const policies = join(folder, 'policies')
  mountConfigMap(folder, 1, { 'narrowgate.yaml': config('{ env: K }') })
  mountConfigMap(policies, 1, { 'a.yaml': 'one' })
  const { expect } = await observe(t, folder)
  for (const version of [2, 3, 4]) await expect(`policies, version ${version}`, 1, () => mountConfigMap(policies, version, { 'a.yaml': `version ${version}` }))
  for (const version of [2, 3]) await expect(`config, version ${version}`, 1, () => mountConfigMap(folder, version, { 'narrowgate.yaml': `# ${version}\n${config('{ env: K }')}` }))
  await expect('a swap to the same contents', 0, () => mountConfigMap(policies, 5, { 'a.yaml': 'version 4' }))
})

t.test('the poll finds what events do not', async t => {
  const broken = (() => { throw Object.assign(new Error('too many'), { code: 'EMFILE' }) }) as unknown as WatchOptions['watchDirectory']
  const folder = t.testdir({ releases: { 1: { 'narrowgate.yaml': config('{ env: K }'), policies: { 'a.yaml': 'a' } }, 2: { 'narrowgate.yaml': config('{ env: K }'), policies: { 'a.yaml': 'b' } } } })
  symlinkSync('releases/1', join(folder, 'current'))
  const polling = await observe(t, join(folder, 'current'), { pollMs: 100, watchDirectory: broken })
  await polling.expect('without any watcher', 1, () => writeFileSync(join(folder, 'releases/1/policies/a.yaml'), 'c'))
  await polling.expect('a swapped parent', 1, () => { symlinkSync('releases/2', join(folder, 'next')); renameSync(join(folder, 'next'), join(folder, 'current')) })
  polling.close()

  const watching = await observe(t, join(folder, 'current'), { pollMs: 200 })
  const policies = join(folder, 'releases/2/policies')
  await watching.expect('a removed folder', 1, () => rmSync(policies, { recursive: true }))
  await watching.expect('made anew', 1, () => { mkdirSync(policies); writeFileSync(join(policies, 'a.yaml'), 'new') })
  await watching.expect('and watched again', 1, () => writeFileSync(join(policies, 'a.yaml'), 'newer'))
})
