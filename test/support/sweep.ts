import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

/** What no gate says to anybody: what tests planted (`CANARY` in it), a client's key, a private key. */
const NEVER = /[^"\s]{0,40}CANARY[^"\s]{0,40}|ngk_[0-9A-Za-z]{49}|-----BEGIN [A-Z ]*PRIVATE KEY-----/
/** A signed token, which only the token endpoint's answer may hold. */
const TOKEN = /eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}/
/** What a gate signs about its own file. */
const CHECKPOINT = /"jws":"[\w.-]+"/g
/** So much of what came before is looked at again with the next chunk, so that a secret in two chunks is found. */
const OVERLAP = 100

/** Looks for secrets in all that a gate says: its log, its audit files, its metrics and views, its answers. */
export class Sweep {
  readonly #found = new Set<string>()

  look (kind: string, text: string): void {
    this.#judge(kind, NEVER.exec(text) ?? TOKEN.exec(text))
  }

  /** For a connection: what comes on it, whatever the chunks are. */
  answers (): (bytes: Buffer) => void {
    let last = ''
    return bytes => {
      const text = last + bytes.toString('latin1')
      this.#judge('an answer', NEVER.exec(text))
      last = text.slice(-OVERLAP)
    }
  }

  /** Every file of a folder whose name matches, gzipped or not, in folders within it, too. */
  lookAtFiles (folder: string, kind: string, name: RegExp): void {
    for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || !name.test(entry.name)) continue
      const bytes = readFileSync(join(entry.parentPath, entry.name))
      const text = (entry.name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString()
      this.look(kind, text.replaceAll(CHECKPOINT, ''))
    }
  }

  /** @throws Error that names each place where a secret was seen, and the secret, which is a test's */
  end (): void {
    if (this.#found.size > 0) throw new Error(`secrets were seen: ${[...this.#found].join('; ')}`)
  }

  #judge (kind: string, seen: RegExpExecArray | null): void {
    if (seen !== null) this.#found.add(`${kind}: ${seen[0]}`)
  }
}
