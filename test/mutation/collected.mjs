// Stands in for `tap` within a mutated test file: keeps the file's tests, which runner.mjs gives to the real tap, mutant after mutant.
const tests = []
const ends = []

/** What the files that were imported since the last call have to run. */
export function taken () {
  return tests.splice(0)
}

/** Ends what those files have started for all of their tests. */
export async function ended () {
  for (const end of ends.splice(0)) await end()
}

const collector = {
  test (name, ...rest) { tests.push({ name, body: rest.at(-1) }) },
  teardown (end) { ends.push(end) }
}

export default collector
