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
