// Parts of src/ that are mutated, and the tests of each that need no process, socket or store beside them: a mutant costs their time.
// Those that are quick come first, since the first that fails ends a mutant's run.
const deciding = ['test/policy/decide.test', 'test/policy/load.test', 'test/policy/property.test']
const road = ['decide', 'condition', 'pattern', 'body-path', 'compile', 'sets'].map(name => `src/policy/${name}.ts`)
const readers = ['json', 'call', 'shape', 'request-text', 'authenticate'].map(name => `src/policy/${name}.ts`)
const limits = (...names) => names.map(name => `src/limits/${name}.ts`)
const core = limits('allowance', 'bucket', 'claims', 'concurrency', 'headers', 'memory', 'narrow', 'probe', 'remaining', 'users', 'waiting', 'window')
const relay = limits('desk', 'lease-book', 'leases', 'relay-wire', 'relayed')
// Not redis.ts and redis-connector.ts, which are sockets, nor script.ts, which is a text in Lua.
const shared = limits('batches', 'session', 'shared-call', 'shared', 'wire')

/**
 * `fresh`: what is loaded remembers answers, so that each mutant needs it loaded anew. `without`: tests of those files that take seconds.
 *
 * @type {Record<string, { mutate: string[], tests: string[], fresh?: boolean, without?: RegExp }>}
 */
export const rooms = {
  domain: { mutate: ['src/domain/*.ts', '!src/domain/json-schema.ts'], tests: ['test/domain/words.test', 'test/domain/target.test', 'test/clients/networks.test', 'test/policy/decide.test'] },
  // What a decision about a call depends on …
  policy: { mutate: road, tests: deciding },
  // … what reads bodies and lines of policies …
  'policy-readers': { mutate: readers, tests: deciding },
  // … and the rest of the room: loading, checking, comparing, learning. Some 6,000 mutants: for a night.
  'policy-tools': { mutate: ['src/domain/json-schema.ts', 'src/policy/*.ts', ...[...road, ...readers].map(file => `!${file}`)], tests: [...deciding, 'test/policy/diff.test', 'test/policy/learn.test'] },
  // What decides: budgets in memory, and who waits for them …
  limits: { mutate: core, tests: ['test/limits/store.test', 'test/limits/waiting.test', 'test/limits/shared.test', 'test/limits/bound.test'], without: /^under saturating load|^with others on the same credential/ },
  // … slots that workers borrow of the primary …
  'limits-relay': { mutate: relay, tests: ['test/limits/relayed.test'] },
  // … and a gate's part in a store for several.
  'limits-shared': { mutate: shared, tests: ['test/limits/shared.test'] },
  clients: { mutate: ['src/clients/*.ts'], tests: ['test/clients/identify.test', 'test/clients/networks.test', 'test/clients/workload.test', 'test/clients/refused.test'], without: /^100,000 guesses|constant-time comparison$/, fresh: true }
}
