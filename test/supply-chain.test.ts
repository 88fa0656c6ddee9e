import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { differences, listContents } from '../deploy/release/contents.mjs'
import { listLicences, runtimePackages } from '../deploy/release/licences.mjs'

const root = resolve(import.meta.dirname, '..')

t.test('the runtime tree: every package has a digest, a permissive licence, and runs nothing when it is installed', async t => {
  const packages = runtimePackages(root)
  t.ok(packages.length > 40, `${packages.length} packages`)
  const names = packages.map(({ name }) => name)
  for (const direct of Object.keys((JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object }).dependencies)) t.ok(names.includes(direct), direct)
  for (const { name, integrity } of packages) t.match(integrity, /^sha512-/, `${name} is pinned by its contents`)
  t.equal(listLicences(root).length, packages.length)
})

t.test('a package that breaks the rules is found', async t => {
  const tree = (manifest: object, locked: object): string => {
    const folder = t.testdir({ 'package-lock.json': JSON.stringify({ packages: { '': {}, 'node_modules/x': { version: '1.0.0', ...locked } } }), node_modules: { x: { 'package.json': JSON.stringify(manifest) } } })
    return folder
  }
  t.throws(() => listLicences(tree({ license: 'AGPL-3.0-only' }, {})), /x 1\.0\.0 has the licence "AGPL-3\.0-only"/)
  t.throws(() => listLicences(tree({}, {})), /has the licence undefined/)
  t.throws(() => listLicences(tree({ license: 'MIT', scripts: { postinstall: 'node x' } }, {})), /runs a script when it is installed/)
  t.throws(() => listLicences(tree({ license: 'MIT' }, { hasInstallScript: true })), /runs a script when it is installed/)
  t.same(listLicences(tree({ license: 'AGPL-3.0-only' }, { dev: true })), [], 'what is for development alone is none of it')
  t.same(listLicences(tree({ license: 'MIT' }, {})), [['x', '1.0.0', 'MIT', '']])
})

const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
/** Runs one of the project's tools. @returns what it says, nothing when it is content */
function complaints (tool: string, words: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(join(root, 'node_modules/.bin', tool), words, { cwd, encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } })
  return status === 0 ? '' : stdout + stderr
}

t.test('every package of the lockfile is pinned, those for development, too, and the lint finds what is from elsewhere', async t => {
  const text = readFileSync(join(root, 'package-lock.json'), 'utf8')
  const packages = Object.entries((JSON.parse(text) as { packages: Record<string, { integrity?: string, resolved?: string }> }).packages).filter(([path]) => path !== '')
  t.ok(packages.length > 500, `${packages.length} packages`)
  t.same(packages.filter(([, { integrity, resolved }]) => integrity?.startsWith('sha512-') !== true || resolved !== undefined).map(([path]) => path), [], 'by their contents, from no address of their own')
  const [tool, ...words] = scripts['lint:lockfile']!.split(' ')
  const elsewhere: Readonly<Record<string, object>> = {
    pino: { resolved: 'https://evil.example/pino.tgz' },
    undici: { resolved: 'http://registry.npmjs.org/undici/-/undici-7.30.2.tgz' },
    jose: { resolved: 'git+ssh://git@github.com/x/jose.git#abc' },
    yaml: { resolved: 'file:../yaml.tgz' },
    ajv: { resolved: 'https://registry.npmjs.org/evil/-/evil-8.20.0.tgz' },
    fastify: { integrity: 'sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA=' }
  }
  const lock = JSON.parse(text) as { packages: Record<string, object> }
  for (const [name, change] of Object.entries(elsewhere)) Object.assign(lock.packages[`node_modules/${name}`]!, change)
  const said = complaints(tool!, words, t.testdir({ 'package-lock.json': JSON.stringify(lock) }))
  for (const [name, change] of Object.entries(elsewhere)) t.match(said, new RegExp(`(?:package|name): ${name}\\b`), JSON.stringify(change))
})

t.test('the search for secrets finds each kind that a gate has', async t => {
  const odd = (length: number): string => Array.from({ length }, (_, i) => 'q7Rz2LmX'[(i * 5 + (i >> 3)) % 8]).join('')
  const secrets: Readonly<Record<string, string>> = {
    'client-key': `key: ngk_${odd(49)}`,
    'api-token': `token: 00${odd(40)}`,
    jwk: `d: ${odd(43)}`,
    'jwk-json': JSON.stringify({ kty: 'EC', d: odd(43) }),
    pem: `-----BEGIN ${'PRIVATE KEY'}-----\n${odd(64)}\n${odd(64)}\n-----END ${'PRIVATE KEY'}-----`,
    'ec-pem': `-----BEGIN ${'EC PRIVATE KEY'}-----\n${odd(64)}\n`,
    vault: `hvs.${odd(90)}`,
    store: `url: rediss://user:${odd(20)}@store:6379`,
    plain: 'nothing of the kind'
  }
  const folder = t.testdir({ '.secretlintrc.json': readFileSync(join(root, '.secretlintrc.json'), 'utf8'), node_modules: t.fixture('symlink', join(root, 'node_modules')), ...Object.fromEntries(Object.entries(secrets).map(([name, text]) => [`${name}.txt`, `${text}\n`])) })
  const said = complaints('secretlint', ['*.txt'], folder)
  for (const name of Object.keys(secrets)) t.equal(said.includes(`${name}.txt`), name !== 'plain', name)
})

t.test('two builds are compared by contents and modes, links as what they name', async t => {
  const folder = t.testdir({ one: { a: 'a', below: { b: 'b' } } })
  symlinkSync('below/b', join(folder, 'one/link'))
  cpSync(join(folder, 'one'), join(folder, 'two'), { recursive: true, verbatimSymlinks: true })
  const changes = (): string[] => differences(listContents(join(folder, 'one')), listContents(join(folder, 'two')))
  t.same(listContents(join(folder, 'one')).map(({ path }) => path), ['a', 'below/b', 'link'])
  t.same(changes(), [])
  writeFileSync(join(folder, 'two/below/b'), 'c')
  t.same(changes(), ['below/b', 'link'])
  writeFileSync(join(folder, 'two/below/b'), 'b')
  chmodSync(join(folder, 'two/a'), 0o755)
  t.same(changes(), ['a'])
  mkdirSync(join(folder, 'two/more'))
  writeFileSync(join(folder, 'two/more/file'), '')
  t.same(changes(), ['a', 'more/file'])
})

t.test('the unit and the image give the process no more than it needs', async t => {
  const unit = readFileSync(join(root, 'deploy/narrowgate.service'), 'utf8')
  for (const line of ['NoNewPrivileges=yes', 'ProtectSystem=strict', 'CapabilityBoundingSet=', 'SystemCallFilter=@system-service', 'DynamicUser=yes']) t.match(unit, new RegExp(`^${line}$`, 'm'), line)
  const image = readFileSync(join(root, 'Dockerfile'), 'utf8')
  t.match(image, /^USER 1000:1000$/m)
  t.match(image, /npm ci --ignore-scripts/)
  t.match(image, /npm prune --omit=dev --ignore-scripts/)
})
