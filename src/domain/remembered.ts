/** Longer texts are asked about anew each time. */
const LONGEST = 64

/**
 * A function of a text that remembers its answers: for what takes a while and is asked of the same few texts again and
 * again, such as the names of headers in the spellings of a handful of clients.
 *
 * @param most so many answers are kept; then it begins anew, which bounds what strangers can make it hold
 */
export function remembered<T> (answer: (text: string) => T, most = 256): (text: string) => T {
  const answers = new Map<string, T>()
  return text => {
    const known = answers.get(text)
    if (known !== undefined) return known
    const found = answer(text)
    if (text.length > LONGEST) return found
    if (answers.size >= most) answers.clear()
    answers.set(text, found)
    return found
  }
}
