import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { readConfigWithLibrary, readConfigYaml } from '../../src/config/yaml.js'
import { readPlainYaml } from '../../src/domain/plain-yaml.js'
import { readWithLibrary, readYaml } from '../../src/policy/yaml.js'

const root = resolve(import.meta.dirname, '../..')

type Path = readonly (string | number)[]
type Located = Pick<ReturnType<typeof readYaml>, 'value' | 'problems' | 'locate'>

/** Every path of a value, and some that it does not have. */
function pathsOf (value: unknown, path: Path = []): Path[] {
  const inner = Array.isArray(value)
    ? [...value.flatMap((item, i) => pathsOf(item, [...path, i])), [...path, value.length], [...path, 'x', 0]]
    : typeof value === 'object' && value !== null
      ? [...Object.entries(value).flatMap(([key, item]) => pathsOf(item, [...path, key])), [...path, 'none'], [...path, 'none', 'x']]
      : [[...path, 'none'], [...path, 0]]
  return [path, ...inner]
}

/** The first difference between what is read plainly and what the library makes of a text; undefined: none. */
function difference (text: string): string | undefined {
  if (readPlainYaml(text) === undefined) return undefined
  const pairs: [Located, Located][] = [[readYaml('f', text), readWithLibrary('f', text)], [readConfigYaml('f', text), readConfigWithLibrary('f', text)]]
  for (const [plain, library] of pairs) {
    if (library.problems.length > 0) return `the library says: ${library.problems[0]!.message}`
    const [one, two] = [plain.value, library.value].map(value => JSON.stringify(value))
    if (one !== two) return `${one} is ${two} to the library`
    for (const path of pathsOf(plain.value)) {
      for (const what of ['value', 'key'] as const) {
        const [at, there] = [plain, library].map(file => JSON.stringify(file.locate(path, what)))
        if (at !== there) return `${JSON.stringify(path)} (${what}) stands at ${at}, for the library at ${there}`
      }
    }
  }
  return undefined
}

const word = fc.constantFrom('a', 'allow', 'where', 'client', 'profile.login', 'x-y_z', '_k', 'constructor', 'toString')
const odd = fc.constantFrom(
  'GET /api/v1/users/{userId}', 'true', 'false', '0', '42', '60/m', '50%', '2099-01-01', '127.0.0.1', '12:30', '00u1', '0oa1exampleexample', '7033e5', '1e5', '1.5', '1.', '0x1F', '0o17', '0123', '123456789012345', '1234567890123456', '-1', '.5', '.inf', 'nan', 'NaN', 'null', 'Null', 'NULL', 'True', 'yes', 'no', 'on', '~',
  'https://acme.okta.com:443/x?y=z', './policies', '../a', 'a, b', 'a]b', 'a#b', 'a & b', "it's", 'say "x"', 'a\\b', 'é – ü', 'name: x', 'ends:', "'quoted'", "'it''s'", '"double"', '"esc\\n"', "''", '"', '|', '>', '&a', '*a', '!t', '@x', '%x', '`x', '?', '- x', '[]', '{}', '[a, b]', "[ 'a', \"b\" ]", '{ a: 1 }', '{a: b, c: [d, { e: f }]}', '[a, ]', '{ a }', '{ a: }', '[a: b]', '{ a: 1, a: 2 }', "{ '*': 1 }", '{ "k": v }', '[a b, c/d]', '[ https://x/y ]', '[a:b]', '[50%]', '[a #b]', '[[1], []]', '{ a: [1,2 ,3] }', '{a: b} c')
const usual = fc.constantFrom('GET /api/v1/users/{userId}', 'true', '7', '60/m', "'a b'", '"x"', '[a, b]', '{ a: [1, { b: c }], \'*\': d }', 'a text of words', './x')
const scalar = fc.oneof({ weight: 5, arbitrary: usual }, { weight: 1, arbitrary: odd })
const comment = fc.constantFrom('', '', '', '', '', '', '', ' # why', '  #', ' #: x', '#no')
const blank = fc.constantFrom('', '', '', '', '\n', '# a comment\n', '      # far in\n', '   \n')

/** Lines of a block, each with its indentation; now and then with one that is a little wrong. */
const { block } = fc.letrec<{ block: string[] }>(tie => ({
  block: fc.oneof({ maxDepth: 3, depthSize: 'medium' },
    fc.array(fc.tuple(word, scalar, comment, blank), { minLength: 1, maxLength: 4 }).map(rows => rows.map(([key, value, note, before]) => `${before}${key}: ${value}${note}`)),
    fc.array(fc.tuple(scalar, comment), { minLength: 1, maxLength: 3 }).map(rows => rows.map(([value, note]) => `- ${value}${note}`)),
    fc.tuple(word, tie('block'), fc.constantFrom(0, 1, 2, 4), comment).map(([key, inner, by, note]) => [`${key}:${note}`, ...indented(inner, by)]),
    fc.array(tie('block'), { minLength: 1, maxLength: 3 }).map(items => items.flatMap(inner => [`- ${inner[0]}`, ...indented(inner.slice(1), 2)])),
    fc.tuple(tie('block'), tie('block')).map(([one, two]) => [...one, ...two]))
}))

function indented (lines: readonly string[], by: number): string[] {
  return lines.flatMap(line => line.split('\n')).map(line => `${' '.repeat(by)}${line}`)
}

const text = block.map(lines => lines.join('\n') + '\n')
const piece = fc.constantFrom(' ', '  ', '\n', '\t', '\r', ':', ': ', '#', ' #', '-', '- ', '"', '\'', '{', '}', '[', ']', ',', ', ', '&', '*', '!', '|', '>', '?', '%', '@', '~', '\\', '---', '...', 'a', '0', '.', '__proto__', '<<', '\u00a0', '\ufeff', '\u2028', 'é')
const changed = fc.tuple(text, fc.array(fc.tuple(fc.nat(), fc.nat(3), piece), { maxLength: 3 })).map(([whole, changes]) =>
  changes.reduce((before, [at, removed, added]) => before.slice(0, at % (before.length + 1)) + added + before.slice(at % (before.length + 1) + removed), whole))

t.test('a file that is read plainly is to the library the same, places included', async t => {
  const files = ['policies', 'policies/sets', 'deploy'].flatMap(folder => readdirSync(join(root, folder)).filter(name => name.endsWith('.yaml')).map(name => readFileSync(join(root, folder, name), 'utf8')))
  for (const file of files) t.equal(difference(file), undefined)
  const short = files.toSorted((a, b) => a.length - b.length).find(file => readPlainYaml(file) !== undefined)!
  let plainly = 0
  fc.assert(fc.property(fc.oneof(text, changed, fc.tuple(fc.nat(short.length), fc.nat(2), piece).map(([at, removed, added]) => short.slice(0, at) + added + short.slice(at + removed))), written => {
    if (readPlainYaml(written) !== undefined) plainly++
    const found = difference(written)
    if (found !== undefined) throw new Error(found)
  }), { numRuns: Number(process.env['YAML_RUNS'] ?? 800) })
  t.ok(plainly > 200, `${plainly} were read plainly`)
})

t.test('policies and configurations as they are mostly written need no library', async t => {
  for (const file of ['policies/account-self-service.yaml', 'policies/read-only-directory.yaml', 'deploy/narrowgate.yaml']) t.ok(readPlainYaml(readFileSync(join(root, file), 'utf8')), file)
  t.same(readPlainYaml('version: 1\nallow:\n- request: GET /x # why\n  where: { id: [a, \'b\'] }\n')?.value, { version: 1, allow: [{ request: 'GET /x', where: { id: ['a', 'b'] } }] })
})

t.test('whatever else a file has is left to the library', async t => {
  for (const left of ['a: &x 1\n', 'a: *x\n', 'a: !t x\n', 'a: |\n  x\n', 'a: "\\n"\n', 'a: \'it\'\'s\'\n', 'a: x\n  y\n', 'a: [x,\n  y]\n', 'a:\n', 'a: 1\na: 2\n', '__proto__: 1\n', '<<: 1\n', 'a: 1\r\n', '\ufeffa: 1\n', '\ta: 1\n', '---\na: 1\n', '%YAML 1.2\n---\na: 1\n', 'null: 1\n', '1: 1\n', 'a: null\n', '- a\n', 'a\n', '']) t.equal(readPlainYaml(left), undefined, JSON.stringify(left))
})
