import { execFile } from 'node:child_process'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Problem } from '../domain/problem.js'
import { createCatalog } from '../okta/catalog.js'
import type { TestReport } from '../policy/check.js'
import { loadPolicies, type PolicySet, type SourceFile } from '../policy/load.js'
import { UsageFault } from './usage.js'

/** Policies as a command got them, with the texts of their files by the path that problems show. */
export interface Sourced {
  readonly set: PolicySet & { readonly tests: TestReport }
  readonly texts: ReadonlyMap<string, string>
}

/** What keeps policies from being compiled. A failing test keeps them from being served, not from being looked at. */
export function loadErrors ({ set }: Sourced): readonly Problem[] {
  const failed = new Set(set.tests.results.filter(({ passed }) => !passed).map(({ file, line }) => `${file}:${line}`))
  return set.problems.filter(({ severity, file, line }) => severity === 'error' && !failed.has(`${file}:${line}`))
}

type NamedFile = SourceFile & { readonly name: string }

/** One policy file, with the sets and the operations.yaml that stand beside it and none of the other policies. */
export async function loadOnePolicy (file: string, now: number): Promise<Sourced> {
  const folder = dirname(file)
  const name = basename(file)
  const files = await readFolder(folder)
  const own = files.filter(each => each.name === name || each.name === 'operations.yaml' || each.name.includes('/'))
  if (!own.some(each => each.name === name)) throw new UsageFault(`${file} cannot be read, or is no .yaml file`)
  return load(own, now)
}

/**
 * Policies of a folder, of one file, or of a git revision: `REV:path`, where path is a folder or file as `git show`
 * takes it.
 *
 * @throws UsageFault when there is nothing to read
 */
export async function loadPolicySource (source: string, now: number): Promise<Sourced> {
  const found = await stat(source).catch(() => undefined)
  if (found?.isDirectory() === true) return load(await readFolder(source), now)
  if (found !== undefined) return await loadOnePolicy(source, now)
  const [, revision, path] = /^([^:]+):(.*)$/.exec(source) ?? []
  if (revision === undefined) throw new UsageFault(`${source} is no folder, no file and no git revision (REV:path)`)
  return load(await readRevision(source, revision, path!), now)
}

function load (files: readonly NamedFile[], now: number): Sourced {
  const set = loadPolicies(files, createCatalog, now, { keepWritten: true })
  return { set, texts: new Map(files.map(file => [file.path, file.text])) }
}

/** Hidden files and folders are left out, as the gate leaves them out. */
async function readFolder (folder: string): Promise<NamedFile[]> {
  const names = await readdir(folder, { recursive: true }).catch((error: unknown) => {
    throw new UsageFault(`${folder} cannot be read (${String((error as NodeJS.ErrnoException).code)})`)
  })
  const wanted = names.filter(isPolicyFile).sort()
  return await Promise.all(wanted.map(async name => ({ name, path: join(folder, name), text: await readFile(join(folder, name), 'utf8') })))
}

function isPolicyFile (name: string): boolean {
  return name.endsWith('.yaml') && !name.split('/').some(part => part.startsWith('.') || part === 'node_modules')
}

const git = promisify(execFile)
const GIT = { maxBuffer: 256 * 1024 * 1024, encoding: 'utf8' } as const

async function readRevision (source: string, revision: string, path: string): Promise<NamedFile[]> {
  // A revision that begins with a dash would be an option of git's.
  if (revision.startsWith('-')) throw new UsageFault(`${revision} is no git revision`)
  const folder = path.replace(/\/+$/, '')
  try {
    const { stdout: kind } = await git('git', ['cat-file', '-t', `${revision}:${folder}`], GIT)
    const isFile = kind.trim() === 'blob'
    const root = isFile ? (folder.includes('/') ? dirname(folder) : '') : folder
    const { stdout } = await git('git', ['ls-tree', '-r', '-z', '--name-only', '--full-tree', root === '' || root === '.' ? revision : `${revision}:${root}`], GIT)
    const only = isFile ? basename(folder) : undefined
    const names = stdout.split('\0').filter(isPolicyFile).filter(name => only === undefined || name === only || name === 'operations.yaml' || name.includes('/')).sort()
    return await Promise.all(names.map(async name => {
      const object = `${revision}:${root === '' ? '' : `${root}/`}${name}`
      return { name, path: object, text: (await git('git', ['show', object], GIT)).stdout }
    }))
  } catch (error) {
    const { stderr } = error as { stderr?: string }
    throw new UsageFault(`${source} cannot be read: ${(stderr ?? String(error)).trim().split('\n')[0]}`)
  }
}
