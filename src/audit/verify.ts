import { CHECKPOINT_NAME, nextHash, readStatement, START_NAME, unchained, type ChainState, type Statement } from './chain.js'

/** Something that is not as the gate wrote it. */
export interface Finding {
  readonly file: string
  /** from 1; absent: the file as a whole */
  readonly line?: number
  readonly what: 'changed' | 'removed' | 'inserted' | 'moved' | 'truncated' | 'signature' | 'link' | 'unreadable'
  readonly message: string
}

export interface Verdict {
  readonly findings: readonly Finding[]
  readonly files: number
  readonly events: number
  readonly checkpoints: number
  /** thumbprints of keys that signed */
  readonly kids: readonly string[]
  /** true: a key was given and every statement is signed with it */
  readonly signed: boolean
  /** events after the last checkpoint, which nothing vouches for yet */
  readonly loose: number
  /** number in its chain of the first line that is there; above 1 when older files are not; 0 when there is none */
  readonly from: number
}

/** Checks a signature; false when it is not by the key that is trusted. */
export type CheckSignature = (jws: string) => Promise<boolean>

export interface VerifyOptions {
  /** absent: signatures are not checked, only the chain */
  readonly check?: CheckSignature
  /** statements that another sink holds */
  readonly anchors?: readonly { readonly statement: Statement, readonly jws?: string }[]
}

/** Missing events that are remembered, in case they stand further down. */
const MOST_MISSING = 10_000

/**
 * Walks through the files of one gate, in their order, and says what was removed, changed, inserted, moved or cut off.
 * What can be proved without the key is the chain; who could have rewritten all of it is stopped by signed checkpoints,
 * and by `anchors` after the last of them.
 *
 * @param files their lines as bytes (`latin1`), each with its newline
 */
export async function verify (files: AsyncIterable<{ readonly name: string, readonly lines: AsyncIterable<string> }>, options: VerifyOptions): Promise<Verdict> {
  const walk = new Walk(options)
  for await (const { name, lines } of files) {
    walk.begin(name)
    try {
      for await (const line of lines) await walk.line(line)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === undefined) throw error
      walk.broken(code)
    }
    walk.end()
  }
  return walk.verdict()
}

class Walk {
  readonly #findings: Finding[] = []
  readonly #kids = new Set<string>()
  readonly #anchored = new Map<number, { file: string, line: number, hash: string }>()
  readonly #wanted: ReadonlySet<number>
  readonly #missing = new Set<number>()
  #firstSeq: number | undefined
  #before: string | undefined
  #file = ''
  #files = 0
  #line = 0
  #events = 0
  #checkpoints = 0
  #unsigned = 0
  #loose = 0
  #state: ChainState | undefined
  #chain: string | undefined
  #fileNumber = 0

  constructor (private readonly options: VerifyOptions) {
    this.#wanted = new Set((options.anchors ?? []).map(({ statement }) => statement.seq))
  }

  begin (file: string): void {
    this.#file = file
    this.#line = 0
    this.#files++
  }

  async line (text: string): Promise<void> {
    this.#line++
    const whole = text.endsWith('\n')
    if (!whole) this.#note('truncated', 'the last line is not finished')
    const found = unchained(whole ? text.slice(0, -1) : text)
    if (found === undefined) {
      if (whole) this.#note(text === '\n' ? 'inserted' : 'changed', 'this line has no place in the chain')
      return
    }
    const { line, state } = found
    const stated = readStatement(line)
    if (this.#line === 1) this.#first(stated?.statement)
    const expected = (this.#state?.seq ?? 0) + 1
    if (state.seq !== expected) this.#outOfOrder(state, expected, line)
    else if (nextHash(this.#state?.hash ?? '', state.seq, line, 'latin1') !== state.hash) this.#note('changed', `event ${state.seq} is not what was written${describe(line)}`)
    // Goes on from what stands there: one change is one finding.
    if (state.seq >= expected) {
      this.#before = state.seq === expected ? this.#state?.hash : undefined
      this.#state = state
      this.#firstSeq ??= state.seq
      if (this.#wanted.has(state.seq)) this.#anchored.set(state.seq, { file: this.#file, line: this.#line, hash: state.hash })
    }
    if (stated === undefined) { this.#events++; this.#loose++; return }
    await this.#statement(stated, line)
  }

  /** The file can't be read on, by the system's or zlib's code. */
  broken (code: string): void {
    this.#note('unreadable', `what stands behind line ${this.#line} can't be read (${code}): the file is damaged`, true)
    // Said once: that it has no line then says nothing more.
    this.#line ||= 1
  }

  end (): void {
    if (this.#line === 0) this.#note('truncated', 'the file is empty', true)
  }

  verdict (): Verdict {
    for (const anchor of this.options.anchors ?? []) this.#anchor(anchor.statement)
    return {
      findings: this.#findings,
      files: this.#files,
      events: this.#events,
      checkpoints: this.#checkpoints,
      kids: [...this.#kids],
      signed: this.options.check !== undefined && this.#unsigned === 0,
      loose: this.#loose,
      from: this.#firstSeq ?? 0
    }
  }

  #first (statement: Statement | undefined): void {
    if (statement?.kind !== 'start') { this.#note('removed', 'the file does not begin with the line that names its chain'); return }
    const fresh = this.#chain === undefined
    if (!fresh && statement.chain !== this.#chain) {
      this.#note('link', 'the file belongs to another chain than the one before it')
      this.#state = undefined
    } else if (!fresh && statement.file !== this.#fileNumber + 1) this.#note('link', `file ${statement.file} of the chain follows file ${this.#fileNumber}: ${statement.file > this.#fileNumber ? 'one between them is missing' : 'the order is another'}`)
    // The first file that is shown may follow others: its own statement says where they ended.
    if (fresh || this.#state === undefined) this.#state = { seq: statement.seq, hash: statement.hash }
    this.#chain = statement.chain
    this.#fileNumber = statement.file
  }

  #outOfOrder (state: ChainState, expected: number, line: string): void {
    if (state.seq > expected) {
      this.#note('removed', state.seq === expected + 1 ? `event ${expected} is missing before this line` : `events ${expected} to ${state.seq - 1} are missing before this line`)
      for (let seq = expected; seq < state.seq && this.#missing.size < MOST_MISSING; seq++) this.#missing.add(seq)
    } else if (this.#missing.delete(state.seq)) this.#note('moved', `event ${state.seq} stands after event ${expected - 1}${describe(line)}`)
    else this.#note('inserted', `event ${state.seq} is here a second time${describe(line)}`)
  }

  async #statement ({ statement, jws }: { readonly statement: Statement, readonly jws?: string }, line: string): Promise<void> {
    this.#checkpoints++
    this.#loose = 0
    // The state that it states is that of the line before it.
    const before = this.#before
    if (before !== undefined && (statement.seq !== this.#state!.seq - 1 || statement.hash !== before)) this.#note('changed', 'the checkpoint states another hash than the line before it has')
    if (jws === undefined) { this.#unsigned++; if (this.options.check !== undefined) this.#note('signature', 'this statement is not signed'); return }
    this.#kids.add(kidOf(line))
    if (this.options.check !== undefined && !await this.options.check(jws)) { this.#unsigned++; this.#note('signature', 'the signature is not by the key that is trusted, or the statement was changed') }
  }

  #anchor (statement: Statement): void {
    if (this.#chain !== undefined && statement.chain !== this.#chain) return
    const { seq, hash } = statement
    // What stands in files that are not shown can't be compared.
    if (this.#firstSeq === undefined || seq < this.#firstSeq) return
    const found = this.#anchored.get(seq)
    const last = this.#state?.seq ?? 0
    // The anchor was a line of the chain itself: the one after what it states.
    if (found === undefined || last <= seq) {
      this.#note(last <= seq ? 'truncated' : 'removed', last <= seq ? `the log ends at event ${last}; an anchor of ${new Date(statement.time).toISOString()} knows event ${seq + 1}` : `event ${seq}, which an anchor knows, is missing`, true)
    } else if (found.hash !== hash) this.#findings.push({ file: found.file, line: found.line, what: 'changed', message: `event ${seq} has another hash than an anchor of ${new Date(statement.time).toISOString()} says: something up to here was rewritten` })
  }

  #note (what: Finding['what'], message: string, whole = false): void {
    this.#findings.push({ file: this.#file, line: whole ? undefined : this.#line, what, message })
  }
}

/** Enough to find the event elsewhere: its id and time. */
function describe (line: string): string {
  const id = /"(?:id|uid|correlation_uid)":"([0-9a-f-]{36})/.exec(line)?.[1]
  return id === undefined ? line.includes(START_NAME) || line.includes(CHECKPOINT_NAME) ? ' (a statement of the chain)' : '' : ` (request ${id})`
}

function kidOf (line: string): string {
  try {
    const { jws } = JSON.parse(line) as { jws: string }
    return String((JSON.parse(Buffer.from(jws.split('.')[0]!, 'base64url').toString()) as { kid?: unknown }).kid)
  } catch {
    return 'unreadable'
  }
}
