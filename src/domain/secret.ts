import { inspect } from 'node:util'

/**
 * A value that cannot be printed: JSON, template strings and util.inspect all show `[secret]`.
 * The text lives in a private field, so no heap snapshot names it after what it is.
 */
export class Secret {
  #value: string

  constructor (value: string) {
    this.#value = value
  }

  /** The text itself. Called where it is used, never where it is passed on. */
  reveal (): string {
    return this.#value
  }

  toString (): string {
    return '[secret]'
  }

  toJSON (): string {
    return '[secret]'
  }

  [inspect.custom] (): string {
    return '[secret]'
  }
}
