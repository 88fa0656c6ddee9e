import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const child = fileURLToPath(new URL('fixtures/heap-child.ts', import.meta.url))

t.test('Buffers that were read and passed on are collected long before they fill the memory', async t => {
  // One thread of collection: on a busy machine the others would free what is dead later.
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--single-threaded-gc', ...process.execArgv, child], { encoding: 'utf8', timeout: 60_000 })
  t.equal(status, 0)
  t.equal(stderr, '', 'this Node knows every flag')
  const most = Number(stdout)
  t.ok(most > 65_536, 'there were buffers')
  t.ok(most < 45_000_000, `${most} bytes at most; Node 24 by itself lets it become more than twice that`)
})
