import type { Problem } from '../domain/problem.js'
import type { TestResult } from '../policy/check.js'

/**
 * Policy tests as JUnit XML, as CI systems read it: one suite per file, one case per test. A file that would not load
 * has a case of its own, so that a run whose policies are broken is never all green.
 *
 * @param problems of all files; what repeats a failed test is left out
 */
export function junitXml (results: readonly TestResult[], problems: readonly Problem[]): string {
  const failed = new Set(results.filter(result => !result.passed).map(result => `${result.file}:${result.line}`))
  const errors = problems.filter(problem => problem.severity === 'error' && !failed.has(`${problem.file}:${problem.line}`))
  const files = [...new Set([...results, ...errors].map(one => one.file))]
  const suites = files.map(file => suite(file, results.filter(result => result.file === file), errors.filter(problem => problem.file === file)))
  const totals = attributes({ name: 'narrowgate check', tests: results.length + suites.filter(one => one.broken).length, failures: failed.size, errors: suites.filter(one => one.broken).length })
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites${totals}>\n${suites.map(one => one.xml).join('')}</testsuites>\n`
}

function suite (file: string, results: readonly TestResult[], errors: readonly Problem[]): { xml: string, broken: boolean } {
  const broken = errors.length > 0
  const cases = results.map(result => {
    const head = `    <testcase${attributes({ classname: result.client, name: result.name, file, line: result.line })}`
    return result.passed ? `${head}/>\n` : `${head}>\n      <failure${attributes({ message: result.message ?? 'this test fails' })}/>\n    </testcase>\n`
  })
  if (broken) {
    const lines = errors.map(({ line, column, message }) => escape(`${file}:${line}:${column} ${message}`)).join('\n')
    cases.unshift(`    <testcase${attributes({ classname: 'files', name: `${file} loads`, file })}>\n      <error${attributes({ message: errors[0]!.message })}>${lines}</error>\n    </testcase>\n`)
  }
  const failures = results.filter(result => !result.passed).length
  return { xml: `  <testsuite${attributes({ name: file, tests: cases.length, failures, errors: broken ? 1 : 0 })}>\n${cases.join('')}  </testsuite>\n`, broken }
}

function attributes (values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values).map(([name, value]) => ` ${name}="${escape(String(value))}"`).join('')
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\n': '&#10;', '\t': '&#9;' }

/** XML 1.0 has no way to write most control characters, lone surrogates, U+FFFE and U+FFFF: they become U+FFFD. */
function escape (text: string): string {
  return text
    .replace(/[\x00-\x08\x0b-\x1f\ufffe\uffff]|\p{Surrogate}/gu, '\ufffd') // eslint-disable-line no-control-regex
    .replace(/[&<>"\n\t]/g, character => ENTITIES[character]!)
}
