/** The known name that a typing error most likely meant; undefined when none is near. */
export function nearest (name: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.floor(name.length / 3) + 2
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase(), least)
    if (distance < least) { least = distance; best = candidate }
  }
  return best
}

/** Levenshtein's distance, or `limit` when it is not below that. */
function editDistance (a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const substituted = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(substituted, previous[j]! + 1, row[j - 1]! + 1))
    }
    previous = row
  }
  return Math.min(previous[b.length]!, limit)
}
