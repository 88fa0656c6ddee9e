import type { Observation } from '../../src/limits/headers.js'
import { answer } from './world.js'

/**
 * One counter of Okta, as rate-limits.json describes it: a minute long, started by traffic, not aligned.
 * Reset is shown in whole seconds, cut: the window really ends up to a second later.
 */
export class OktaCounter {
  #endsAt = 0
  #count = 0
  tooMany = 0
  /** times of the 429s */
  readonly refusals: number[] = []

  constructor (readonly limit: number) {}

  /** A request is counted at `now`. */
  arrive (now: number): { status: number, remaining: number, endsAt: number } {
    if (now >= this.#endsAt) {
      this.#endsAt = now + 60_000
      this.#count = 0
    }
    this.#count++
    const status = this.#count > this.limit ? 429 : 200
    if (status === 429) this.refusals.push(now)
    return { status, remaining: Math.max(0, this.limit - this.#count), endsAt: this.#endsAt }
  }

  /** Somebody else uses `count`; it never asks for more than there is. */
  others (now: number, count: number): void {
    for (let i = 0; i < count; i++) if (now >= this.#endsAt || this.#count < this.limit) this.arrive(now)
  }

  /** What an answer that was counted like that says when it arrives at `now`. */
  observation (counted: { status: number, remaining: number, endsAt: number }, now: number): Observation {
    return answer(now, counted.status, this.limit, counted.remaining, counted.endsAt)
  }
}

/** A queue of things to do at a time, in order; equal times in order of entry. */
export class Agenda {
  #heap: { at: number, order: number, run: () => void | Promise<void> }[] = []
  #order = 0

  add (at: number, run: () => void | Promise<void>): void {
    const heap = this.#heap
    let i = heap.push({ at, order: this.#order++, run }) - 1
    for (let parent = (i - 1) >> 1; i > 0 && before(heap[i]!, heap[parent]!); i = parent, parent = (i - 1) >> 1) swap(heap, i, parent)
  }

  next (): { at: number, run: () => void | Promise<void> } | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === first) return first
    heap[0] = last!
    for (let i = 0; ;) {
      const left = 2 * i + 1
      let least = i
      if (left < heap.length && before(heap[left]!, heap[least]!)) least = left
      if (left + 1 < heap.length && before(heap[left + 1]!, heap[least]!)) least = left + 1
      if (least === i) return first
      swap(heap, i, least)
      i = least
    }
  }
}

function before (a: { at: number, order: number }, b: { at: number, order: number }): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

function swap<T> (heap: T[], i: number, j: number): void {
  const kept = heap[i]!
  heap[i] = heap[j]!
  heap[j] = kept
}

/** The most of `times` that any span of `spanMs` holds. */
export function worstSpan (times: readonly number[], spanMs = 60_000): number {
  const sorted = Float64Array.from(times).sort()
  let worst = 0
  for (let first = 0, last = 0; last < sorted.length; last++) {
    while (sorted[last]! - sorted[first]! >= spanMs) first++
    worst = Math.max(worst, last - first + 1)
  }
  return worst
}
