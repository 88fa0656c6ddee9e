// Part of `npm run build`: puts the compiled program and the packages that it runs on into few files (dist/bundle/), and has
// dist/main.js start from there. Node finds, reads and compiles some nine hundred files for a start otherwise, one by one.
// The other files of dist/ stay, for tests and scripts that import them.
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const dist = new URL('../dist/', import.meta.url)
const inDist = path => fileURLToPath(new URL(path, dist))
const folder = inDist('bundle')

/** Loaded from node_modules/ when something asks for them, which is seldom or never: Fastify's compilers of schemas, its tests' client. */
const SELDOM = [/^ajv(?:\/|$)/, '@fastify/ajv-compiler', '@fastify/fast-json-stringify-compiler', 'light-my-request']
/** What an operator installs beside the gate, where secrets are kept there. */
const PEERS = Object.keys(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).peerDependencies)

/** Modules of ours load some packages when they are needed, by a require of their own: to the bundler it is the usual one. */
const ownRequire = {
  name: 'own-require',
  transform: {
    filter: { id: /[\\/]dist[\\/](?:config|policy)[\\/]/, code: 'createRequire(import.meta.url)' },
    handler: code => code.replace('const require = createRequire(import.meta.url);', '').replace(/import \{ createRequire \} from 'node:module';/, '')
  }
}

/** V8 parses JSON faster than an object of JavaScript. */
const jsonAsText = {
  name: 'json-as-text',
  load: {
    filter: { id: /\.json$/ },
    handler: id => ({ code: `export default JSON.parse(${JSON.stringify(JSON.stringify(JSON.parse(readFileSync(id, 'utf8'))))})`, moduleType: 'js' })
  }
}

const undici = Object.keys(createRequire(import.meta.url)('./undici.cjs'))
const leanUndici = {
  name: 'lean-undici',
  transform: {
    filter: { id: /[\\/]dist[\\/]/, code: 'undici' },
    handler (code, id) {
      for (const [, names] of code.matchAll(/import \{([^}]*)\} from 'undici'/g)) {
        for (const name of names.split(',').map(each => each.trim())) if (!undici.includes(name)) throw new Error(`${id} imports ${name}, which deploy/undici.cjs has not`)
      }
    }
  },
  resolveId: { filter: { id: /^undici$/ }, handler: () => fileURLToPath(new URL('undici.cjs', import.meta.url)) }
}

/**
 * Node's own modules, asked for directly: an import of one first reads all that it exports, and from Node 22 on `node:http` then
 * loads Node's own copy of undici for the sake of its `WebSocket`.
 */
const builtinsDirectly = {
  name: 'builtins-directly',
  renderChunk (code, { fileName }) {
    const direct = code.replace(/^import (?:(?:\* as )?([\w$]+))?(?:, )?(?:\{([^}]*)\})? from ["'](node:[\w/]+)["'];$/gm, (_, whole, names, module) => {
      const asked = `process.getBuiltinModule("${module}")`
      return [whole, names && `{${names.replaceAll(' as ', ': ')}}`].filter(Boolean).map(bound => `const ${bound} = ${asked};`).join(' ')
    })
    const left = /^.*from ["']node:.*$/m.exec(direct)
    if (left !== null) throw new Error(`${fileName}: ${left[0]} is imported in a way that deploy/bundle.mjs does not know`)
    return direct
  }
}

rmSync(folder, { recursive: true, force: true })
const bundle = await rolldown({
  input: { run: inDist('cli/run.js'), 'load-in-turn': inDist('cli/load-in-turn.js') },
  platform: 'node',
  external: [...PEERS, ...SELDOM],
  plugins: [ownRequire, jsonAsText, leanUndici, builtinsDirectly],
  onLog (level, log, handle) {
    // A warning is a change of what is bundled: look at it.
    if (level === 'warn') throw new Error(log.message)
    handle(level, log)
  }
})
const { output } = await bundle.write({
  dir: folder,
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: '[name]-[hash].js',
  // Names and lines stay, for stack traces; without comments there is half as much to read. One character beyond ASCII
  // would make V8 keep a whole file in two bytes a character.
  comments: false,
  minify: { compress: false, mangle: false, codegen: { removeWhitespace: false, asciiOnly: true } }
})
await bundle.close()
console.log(`dist/bundle: ${output.length} files, ${Math.round(output.reduce((sum, { code }) => sum + code.length, 0) / 1000)} kB`)
writeFileSync(inDist('main.js'), readFileSync(inDist('main.js'), 'utf8').replace('./cli/run.js', './bundle/run.js'))
