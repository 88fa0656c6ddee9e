const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const

export type Style = keyof typeof CODES

/** Marks up a text for a terminal; leaves it alone where there is none. */
export type Paint = (style: Style, text: string) => string

/** @param color whether the terminal shows colours */
export function painter (color: boolean): Paint {
  return color ? (style, text) => `\x1b[${CODES[style]}m${text}\x1b[0m` : (_, text) => text
}

/** `1 client`, `2 clients`. */
export function count (number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

/** Cuts a text to a width; what is cut off shows as an ellipsis. */
export function fit (text: string, width: number): string {
  return (text.length > width ? `${text.slice(0, Math.max(0, width - 1))}…` : text).padEnd(width)
}
