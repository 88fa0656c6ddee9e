import type { ServerResponse } from 'node:http'

/** The time without progress is looked at in so many parts: node starts a socket's time anew when the kernel has taken anything since it last ran out. */
const LOOKS = 4

/** Bytes that may wait for a slow client before Okta's side is paused. */
const MAX_WAITING_BYTES = 131_072

/** The client's side of an answer: back-pressure, a bound on clients that take nothing, an end that can't be misread. */
export class PacedReply {
  readonly #reply: ServerResponse
  readonly #stalledMs: number
  readonly #onReady: () => void
  readonly #clock: () => number
  #paused = false
  #watching = false
  #timeoutBefore = 0
  /** looks in a row at which nothing had been taken, and when the last of them was */
  #quiet = 0
  #quietAt = 0

  /**
   * @param stalledMs a client that takes no byte for so long, and a quarter of it longer at most, is cut off
   * @param clock monotonic milliseconds
   * @param onReady called when writing may go on after write() said false
   */
  constructor (reply: ServerResponse, stalledMs: number, clock: () => number, onReady: () => void) {
    this.#reply = reply
    this.#stalledMs = stalledMs
    this.#clock = clock
    this.#onReady = onReady
  }

  /** write() said false, and writing may not go on yet */
  get paused (): boolean { return this.#paused }

  /** @returns false: enough is waiting, write no more until onReady */
  write (chunk: Buffer): boolean {
    if (this.#reply.write(chunk) || this.#reply.writableLength < MAX_WAITING_BYTES) return true
    this.#paused = true
    this.watch()
    return false
  }

  /** Ends the answer; a client that leaves the rest of it lying is still cut off. */
  end (): void {
    this.#reply.end()
    if (this.#reply.writableLength > 0) this.watch()
  }

  /**
   * Ends a half-sent answer so that no client can take it for a whole one: with a reset for HTTP/1.0, where the end
   * of the connection may be the end of the body.
   */
  readonly destroy = (): void => {
    const { socket, req } = this.#reply
    if (req.httpVersion !== '1.0' || socket === null || 'encrypted' in socket) this.#reply.destroy()
    else socket.resetAndDestroy()
  }

  /** From now on a client that takes nothing is cut off. The socket's own timeout counts as progress what the kernel has taken, not only what has drained. */
  watch (): void {
    const { socket } = this.#reply
    this.#timeoutBefore = socket?.timeout ?? 0
    if (!this.#watching) {
      this.#watching = true
      this.#reply.on('drain', this.#onDrain).on('timeout', this.#onQuiet)
    }
    this.#quiet = 0
    socket?.setTimeout(this.#stalledMs / LOOKS)
  }

  /** Nothing has been taken for a part of the time. Where the parts do not follow each other, something was taken between. */
  readonly #onQuiet = (): void => {
    const now = this.#clock()
    this.#quiet = now - this.#quietAt < 1.5 * this.#stalledMs / LOOKS ? this.#quiet + 1 : 1
    this.#quietAt = now
    if (this.#quiet < LOOKS) this.#reply.socket?.setTimeout(this.#stalledMs / LOOKS)
    else this.destroy()
  }

  readonly #onDrain = (): void => {
    if (!this.#paused) return
    this.#paused = false
    this.#reply.socket?.setTimeout(this.#timeoutBefore)
    // undici asserts that no parser is at work when it is resumed.
    queueMicrotask(this.#onReady)
  }
}
