import { watch as watchDirectory, type FSWatcher } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { FileMemory, subfolders, type Sources } from './files.js'

/** Watches what a snapshot was made of. */
export interface Watch {
  /** Says what the newest load has read, whether or not it was good: from now on changes against it count. */
  loaded (sources: Sources, hash: string): void
  close (): void
}

export interface WatchOptions {
  /** Called when the contents differ from what was loaded; not again before they differ from that. */
  readonly onChange: () => void
  /** how often to look even when the system reports nothing, milliseconds */
  readonly pollMs?: number
  /** quiet time after a report before looking, milliseconds */
  readonly debounceMs?: number
  /** of the loads of the same files */
  readonly memory?: FileMemory
  /** node:fs's watch; a test gives one that fails */
  readonly watchDirectory?: typeof watchDirectory
}

const POLL_MS = 5_000
const DEBOUNCE_MS = 100
const LONGEST_DEBOUNCE_MS = 1_000
/** A look must not cost more than this part of the time, however many files there are. */
const POLL_SHARE = 50

/**
 * Directories are watched, never files: Kubernetes swaps a symbolic link beside them (`..data`), editors and
 * deployments rename, and a watcher of the file itself is deaf afterwards. What counts is the contents' hash.
 * A slow poll of sizes and times finds what no event reports: a directory made anew, a swapped parent, a
 * network file system, or watchers that the system refuses (EMFILE, ENOSPC).
 */
export function watch (options: WatchOptions): Watch {
  const { onChange, pollMs = POLL_MS, debounceMs = DEBOUNCE_MS, memory = new FileMemory(Date.now) } = options
  const watchers = createWatchers(options.watchDirectory ?? watchDirectory, () => lookSoon(debounceMs))
  let sources: Sources = { files: [], folders: [] }
  let hash: string | undefined
  let timer: NodeJS.Timeout | undefined
  let firstReport: number | undefined
  let poll: NodeJS.Timeout | undefined
  let looking = false
  let again = false
  let closed = false

  /** Each report starts the quiet time anew, but a place where something always happens is looked at too. */
  function lookSoon (ms: number): void {
    if (closed) return
    firstReport ??= performance.now()
    const longest = firstReport + LONGEST_DEBOUNCE_MS - performance.now()
    clearTimeout(timer)
    timer = setTimeout(look, Math.max(0, Math.min(ms, longest)))
    timer.unref()
  }

  function look (): void {
    firstReport = undefined
    if (looking) { again = true; return }
    looking = true
    const began = performance.now()
    // Reading fails as a value; what is thrown all the same must not end the process, and the next look finds it.
    compare().catch(() => {}).finally(() => {
      looking = false
      pollAfter(Math.max(pollMs, (performance.now() - began) * POLL_SHARE))
      if (again) { again = false; lookSoon(0) }
    })
  }

  async function compare (): Promise<void> {
    const judged = sources
    await watchers.arm(await directoriesOf(judged))
    const nextHash = await memory.hash(judged)
    // A load has happened meanwhile and has asked for a look of its own.
    if (closed || judged !== sources) return
    if (nextHash === hash) return
    hash = nextHash
    onChange()
  }

  function pollAfter (ms: number): void {
    clearTimeout(poll)
    if (closed) return
    poll = setTimeout(look, ms)
    poll.unref()
  }

  return {
    loaded (newSources, newHash) {
      sources = newSources
      hash = newHash
      lookSoon(0)
    },
    close () {
      closed = true
      clearTimeout(timer)
      clearTimeout(poll)
      watchers.close()
    }
  }
}

/** A directory, and the names in it that matter. */
type Directories = ReadonlyMap<string, ReadonlySet<string> | 'all'>

/** The folders with their sub-folders; of the folder of a file, and of a folder's own parent, one name. */
async function directoriesOf (sources: Sources): Promise<Directories> {
  const directories = new Map<string, Set<string> | 'all'>()
  for (const tree of await Promise.all(sources.folders.map(folder => subfolders(folder)))) {
    for (const folder of tree) directories.set(folder, 'all')
  }
  for (const path of [...sources.files, ...sources.folders]) {
    const names = directories.get(dirname(path)) ?? new Set<string>()
    if (names !== 'all') directories.set(dirname(path), names.add(basename(path)))
  }
  return directories
}

/** `..data` and its like are how Kubernetes swaps a mounted folder. A name is not always told. */
function matters (names: ReadonlySet<string> | 'all' | undefined, name: string | null): boolean {
  return names === 'all' || name === null || name.startsWith('..') || names?.has(name) === true
}

interface Watchers {
  /** Watches exactly these directories; one that was made anew is watched anew. */
  arm (directories: Directories): Promise<void>
  close (): void
}

function createWatchers (watchOne: typeof watchDirectory, onEvent: () => void): Watchers {
  const armed = new Map<string, { inode: string, watcher: FSWatcher }>()
  let wanted: Directories = new Map()
  let closed = false

  function disarm (directory: string): void {
    armed.get(directory)?.watcher.close()
    armed.delete(directory)
  }

  async function armOne (directory: string): Promise<void> {
    const inode = await inodeOf(directory)
    if (closed || armed.get(directory)?.inode === inode) return
    disarm(directory)
    if (inode === undefined) return
    try {
      const watcher = watchOne(directory, { persistent: false }, (_, name) => { if (matters(wanted.get(directory), name)) onEvent() })
      watcher.on('error', () => disarm(directory))
      armed.set(directory, { inode, watcher })
    } catch {
      // EMFILE, ENOSPC, or just removed: the poll sees what this directory holds, and tries again.
    }
  }

  return {
    async arm (directories) {
      wanted = directories
      for (const directory of [...armed.keys()]) if (!directories.has(directory)) disarm(directory)
      for (const directory of directories.keys()) await armOne(directory)
    },
    close () {
      closed = true
      for (const directory of [...armed.keys()]) disarm(directory)
    }
  }
}

async function inodeOf (directory: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(directory, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}
