// Builds what the image holds from a commit, and says what is in it: contents, SBOM, licences, provenance.
//
//   node deploy/release.mjs [--out DIR] [--commit REV] [--twice]
//
// --twice builds a second time in another folder and fails unless every file is the same.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { differences, listContents, sha256 } from './release/contents.mjs'
import { listLicences } from './release/licences.mjs'
import { makeProvenance } from './release/provenance.mjs'
import { makeSbom } from './release/sbom.mjs'

const root = resolve(import.meta.dirname, '..')
const { values: { out, commit: revision, twice } } = parseArgs({
  options: { out: { type: 'string', default: 'release' }, commit: { type: 'string', default: 'HEAD' }, twice: { type: 'boolean', default: false } }
})
const git = (...words) => execFileSync('git', words, { cwd: root, encoding: 'utf8' }).trim()
const commit = git('rev-parse', `${revision}^{commit}`)
const committed = new Date(git('show', '-s', '--format=%cI', commit))
const started = new Date()
const work = mkdtempSync(join(tmpdir(), 'narrowgate-release-'))

try {
  const tree = build('one')
  const contents = listContents(tree)
  if (twice) {
    const other = differences(contents, listContents(build('two')))
    if (other.length > 0) throw new Error(`two builds of ${commit} differ in ${other.length} files: ${other.slice(0, 10).join(', ')}`)
  }
  const folder = resolve(out)
  const { name, version, sbom } = makeSbom(tree, committed)
  const licences = listLicences(tree)
  const text = contents.map(({ path, digest }) => `${digest}  ${path}\n`).join('')
  const provenance = makeProvenance({ name, version, commit, started, finished: new Date(), contents: sha256(text), sbom: JSON.parse(sbom) })
  mkdirSync(folder, { recursive: true })
  cpSync(tree, join(folder, 'image'), { recursive: true, verbatimSymlinks: true })
  writeFileSync(join(folder, 'contents.sha256'), text)
  writeFileSync(join(folder, 'sbom.cdx.json'), sbom)
  writeFileSync(join(folder, 'licences.tsv'), licences.map(row => row.join('\t') + '\n').join(''))
  writeFileSync(join(folder, 'provenance.intoto.json'), JSON.stringify(provenance, null, 2) + '\n')
  console.log(`${name} ${version} of commit ${commit.slice(0, 12)}: ${contents.length} files, ${licences.length} packages, contents sha256:${sha256(text)}${twice ? ', the same in two builds' : ''}`)
  console.log(`in ${out}: image/, contents.sha256, sbom.cdx.json, licences.tsv, provenance.intoto.json`)
} catch (error) {
  console.error(`release: ${error.message}`)
  process.exitCode = 1
} finally {
  rmSync(work, { recursive: true, force: true })
}

/** What the Dockerfile copies into the image, made in a folder that holds nothing but the commit. */
function build (folder) {
  const source = join(work, folder, 'narrowgate')
  mkdirSync(source, { recursive: true })
  execFileSync('tar', ['-x', '-C', source], { input: execFileSync('git', ['archive', commit], { cwd: root, maxBuffer: 1 << 28 }) })
  const npm = (...words) => execFileSync('npm', words, { cwd: source, stdio: ['ignore', 'ignore', 'inherit'] })
  npm('ci', '--ignore-scripts', '--prefer-offline', '--loglevel=error')
  npm('run', 'build')
  npm('prune', '--omit=dev', '--ignore-scripts', '--loglevel=error')
  const tree = join(work, folder, 'image')
  mkdirSync(tree)
  for (const name of ['package.json', 'package-lock.json', 'node_modules', 'dist', 'policies']) cpSync(join(source, name), join(tree, name), { recursive: true, verbatimSymlinks: true })
  return tree
}
