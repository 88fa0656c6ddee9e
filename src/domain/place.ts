/** Where an offset of a text stands, both from 1; a line ends with its line feed. */
export function lineAndColumn (text: string, offset: number): { line: number, column: number } {
  let line = 1
  let begin = 0
  for (let at = text.indexOf('\n'); at >= 0 && at < offset; at = text.indexOf('\n', begin)) {
    line++
    begin = at + 1
  }
  return { line, column: offset - begin + 1 }
}
