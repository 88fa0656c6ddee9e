/** A terminal must not obey what a file or an argument holds, nor show it in another order. Every character but a line end stays one column wide. */
export function printable (text: string): string {
  return text.replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu, ' ') // eslint-disable-line no-control-regex
}
