/** Calls of one upstream that are in flight, from their reservation to the end of their response. */
export class Concurrency {
  #inFlight = 0

  get inFlight (): number {
    return this.#inFlight
  }

  take (): void {
    this.#inFlight++
  }

  giveBack (): void {
    this.#inFlight--
  }
}
