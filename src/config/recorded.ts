import type { FileLook, FileRead, Reader, Sources } from './files.js'

/** All that a load has read: a process that is handed it loads the very same, whatever stands on the disk by then. */
export interface Recorded {
  readonly hash: string
  readonly sources: Sources
  /** by path: bytes as latin1, mode and digest, or the system's code why there are none */
  readonly files: ReadonlyArray<readonly [path: string, bytes: string | null, mode: number, digestOrCode: string]>
  /** the files of each folder, or the system's code */
  readonly folders: ReadonlyArray<readonly [path: string, files: readonly string[] | null, code: string]>
  /** in the order of `secretReferences`; null: there is none */
  readonly secrets: ReadonlyArray<string | null>
}

/**
 * A reader, and a record of what it has read: this file, and folders. Other single files are secrets, which are
 * recorded as such.
 */
export function recordReader (reader: Reader, file: string): { readonly reader: Reader, readonly recorded: (secrets: Recorded['secrets']) => Recorded } {
  const files = new Map<string, FileLook>()
  const folders = new Map<string, readonly string[] | string>()
  return {
    reader: {
      async readFile (path) {
        const read = await reader.readFile(path)
        if (path === file) files.set(path, read)
        return read
      },
      async readFolder (path) {
        const { folder, contents } = await reader.readFolder(path)
        folders.set(path, folder.kind === 'read' ? folder.files : folder.code)
        for (const [inside, read] of contents) files.set(inside, read)
        return { folder, contents }
      },
      get sources () { return reader.sources },
      hash: () => reader.hash()
    },
    recorded: secrets => ({
      hash: reader.hash(),
      sources: reader.sources,
      files: Array.from(files, ([path, read]) => {
        if (read.kind === 'same') throw new Error(`${path} has not been read, so it can't be recorded`)
        return read.kind === 'read' ? [path, read.bytes.toString('latin1'), read.mode, read.digest] as const : [path, null, 0, read.code] as const
      }),
      folders: Array.from(folders, ([path, read]) => typeof read === 'string' ? [path, null, read] as const : [path, read, ''] as const),
      secrets
    })
  }
}

/** Reads what was recorded, and nothing else. */
export function replayReader (recorded: Recorded): Reader {
  const files = new Map(recorded.files.map(([path, bytes, mode, digestOrCode]): [string, FileRead] =>
    [path, bytes === null ? { kind: 'failed', code: digestOrCode } : { kind: 'read', bytes: Buffer.from(bytes, 'latin1'), mode, digest: digestOrCode }]))
  const folders = new Map(recorded.folders.map(([path, list, code]) => [path, { list, code }]))
  const read = (path: string): FileRead => files.get(path) ?? { kind: 'failed', code: 'ENOENT' }
  return {
    readFile: async path => read(path),
    async readFolder (path) {
      const { list = null, code = 'ENOENT' } = folders.get(path) ?? {}
      if (list === null) return { folder: { kind: 'failed', code }, contents: new Map() }
      return { folder: { kind: 'read', files: list }, contents: new Map(list.map(file => [file, read(file)])) }
    },
    sources: recorded.sources,
    hash: () => recorded.hash
  }
}
