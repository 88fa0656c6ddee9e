/** One thing that a process tells the other. */
type Item =
  /** a topic that wants no answer */
  | readonly ['note', string, unknown]
  | readonly ['ask', number, string, unknown]
  /** false: the other side has no answer, and says why */
  | readonly ['answer', number, boolean, unknown]
  /** a step of the limits, or its answer: by far the most, so they have the least around them */
  | readonly unknown[]

export type { Item }

export interface ChannelOptions {
  /** Hands a batch to the other process. False: it is gone. */
  readonly post: (items: readonly Item[]) => boolean
  readonly onLimit: (item: readonly unknown[]) => void
  readonly onNote: (topic: string, value: unknown) => void
  /** answers a question; a rejection reaches the asker as one, with the message only */
  readonly onAsk: (topic: string, value: unknown) => unknown
}

interface Open {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

const TALK = new Set<unknown>(['note', 'ask', 'answer'])

/**
 * What a worker and its primary tell each other over the pipe that node:cluster lays between them: whatever one turn
 * of the event loop brings travels as one message, in order.
 */
export class Channel {
  readonly #options: ChannelOptions
  readonly #open = new Map<number, Open>()
  #batch: Item[] = []
  #ids = 0
  #closed = false

  constructor (options: ChannelOptions) {
    this.#options = options
  }

  /** A step of the limits, or an answer to one. */
  push (item: Item): void {
    if (this.#batch.push(item) === 1) setImmediate(() => { this.#flush() })
  }

  note (topic: string, value?: unknown): void {
    this.push(['note', topic, value])
  }

  /** Asks the other side. Rejects when it has no answer, or none in time. */
  ask (topic: string, value: unknown, timeoutMs: number): Promise<unknown> {
    if (this.#closed) return Promise.reject(new Error('the other process is gone'))
    const id = ++this.#ids
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => { this.#open.delete(id); reject(new Error(`no answer to ${topic} within ${timeoutMs} ms`)) }, timeoutMs)
      timer.unref()
      this.#open.set(id, { resolve, reject, timer })
      this.push(['ask', id, topic, value])
    })
  }

  /** A batch of the other side. */
  receive (items: readonly Item[]): void {
    for (const item of items) {
      if (!TALK.has(item[0])) { this.#options.onLimit(item); continue }
      const [kind, a, b, c] = item
      if (kind === 'note') this.#options.onNote(a as string, b)
      else if (kind === 'ask') this.#answer(a as number, b as string, c)
      else this.#settle(a as number, b as boolean, c)
    }
  }

  /** The other process is gone: whatever was asked has no answer. */
  close (): void {
    this.#closed = true
    for (const { reject, timer } of this.#open.values()) { clearTimeout(timer); reject(new Error('the other process is gone')) }
    this.#open.clear()
    this.#batch = []
  }

  #answer (id: number, topic: string, value: unknown): void {
    new Promise(resolve => { resolve(this.#options.onAsk(topic, value)) }).then(
      answer => { this.push(['answer', id, true, answer]) },
      (error: unknown) => { this.push(['answer', id, false, error instanceof Error ? error.message : String(error)]) })
  }

  #settle (id: number, good: boolean, value: unknown): void {
    const open = this.#open.get(id)
    if (open === undefined) return
    this.#open.delete(id)
    clearTimeout(open.timer)
    if (good) open.resolve(value)
    else open.reject(new Error(String(value)))
  }

  #flush (): void {
    const batch = this.#batch
    this.#batch = []
    if (batch.length > 0 && !this.#closed && !this.#options.post(batch)) this.close()
  }
}
