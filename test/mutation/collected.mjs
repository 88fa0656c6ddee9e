// Stands in for `tap` within a mutated test file: keeps the file's tests, which runner.mjs gives to the real tap, mutant after mutant.
const tests = []

/** What the files that were imported since the last call have to run. */
export function taken () {
  return tests.splice(0)
}

const collector = {
  test (name, ...rest) { tests.push({ name, body: rest.at(-1) }) }
}

export default collector
