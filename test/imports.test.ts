import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import t from 'tap'

const source = resolve(import.meta.dirname, '../src')

/** docs/architecture.md, "Who may import whom": each room and the rooms below it. */
const below: Record<string, readonly string[]> = {
  'main.ts': ['cli'],
  cli: ['server', 'policy', 'clients', 'limits', 'upstream', 'audit', 'config', 'okta', 'domain'],
  server: ['policy', 'clients', 'limits', 'upstream', 'audit', 'config', 'okta', 'domain'],
  policy: ['okta', 'domain'],
  clients: ['okta', 'domain'],
  limits: ['okta', 'domain'],
  upstream: ['okta', 'domain'],
  audit: ['okta', 'domain'],
  config: ['okta', 'domain'],
  emulator: ['okta', 'domain'],
  okta: ['domain'],
  domain: []
}
/** Files named after a technology, and what else does I/O by its nature. Every other file of these rooms is pure. */
const doesIo = /(^|\/)(agent|file|files|stdout|https|redis(-connector)?|watch|secret-files|environment|fetch|forward|server|service-app|generate|lines|descriptor|tls|store-.*|[a-z-]*-file|[a-z-]*-files)\.ts$/
const pureRooms = ['domain', 'okta', 'policy', 'clients', 'limits', 'upstream', 'audit', 'config']
const io = /^node:(fs|net|http|https|tls|dns|child_process|cluster|worker_threads)(\/|$)|^fastify$|^ioredis$/

interface Import { file: string, room: string, specifier: string, typeOnly: boolean, names: string }

function files (folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.ts'))
    .map(entry => join(entry.parentPath, entry.name))
}

function imports (): Import[] {
  return files(source).flatMap(path => {
    const file = relative(source, path)
    const room = file.split('/')[0]!
    const text = readFileSync(path, 'utf8')
    return [...text.matchAll(/^(?:import|export)\s+(type\s)?([^'"]*?)from\s+['"]([^'"]+)['"]|^import\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm)]
      .map(match => ({ file, room, typeOnly: match[1] !== undefined, names: match[2] ?? '', specifier: match[3] ?? match[4] ?? match[5]! }))
  })
}

t.test('every room imports only from the rooms below it', async t => {
  const all = imports()
  t.ok(all.length > 100, `${all.length} imports read`)
  for (const { file, room, specifier } of all.filter(entry => entry.specifier.startsWith('.'))) {
    const target = relative(source, resolve(source, dirname(file), specifier)).split('/')[0]!
    if (target === room || target.startsWith('..')) { t.notOk(target.startsWith('..'), `${file} imports ${specifier} from outside src`); continue }
    const demo = target === 'emulator' && /^cli\/demo/.test(file)
    t.ok(demo || (below[room] ?? []).includes(target), `${file} may import ${specifier}`)
  }
})

t.test('a file that is not named after a technology does no I/O', async t => {
  for (const { file, room, specifier, typeOnly, names } of imports()) {
    if (!pureRooms.includes(room) || doesIo.test(file) || typeOnly || !io.test(specifier)) continue
    const addressLists = specifier === 'node:net' && /^\{ (?:(?:BlockList|SocketAddress|isIP|isIPv4|isIPv6)(?:, )?)+ \}\s*$/.test(names) // these open no socket
    t.ok(addressLists, `${file} imports ${specifier}`)
  }
})

t.test('only okta/catalog knows path-to-regexp', async t => {
  const users = imports().filter(entry => entry.specifier === 'path-to-regexp').map(entry => entry.file)
  t.ok(users.length > 0)
  for (const file of users) t.match(file, /^okta\//)
})

t.test('the credential is taken out of its Secret where it is put on a call, and in no room that judges, counts or records one', async t => {
  const revealing = files(source).map(path => ({ file: relative(source, path), text: readFileSync(path, 'utf8') })).filter(({ text }) => text.includes('.reveal()'))
  const presented = revealing.filter(({ text }) => text.includes('token.reveal()')).map(({ file }) => file).sort()
  // clients' calls; proofs over them; whether a token file has changed; what the gate and `doctor` ask Okta themselves; what no token looks like
  t.same(presented, ['cli/doctor-org.ts', 'server/own-calls.ts', 'server/unusable-secrets.ts', 'upstream/api-token.ts', 'upstream/dpop.ts', 'upstream/inject.ts'])
  t.same(revealing.filter(({ file }) => /^(?:domain|okta|policy|limits|audit|emulator)\//.test(file)).map(({ file }) => file), [])
})
