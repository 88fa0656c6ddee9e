// Runs the built gate under Node's permission model, as deploy/README.md says: it serves, writes its audit log, takes a
// changed policy up, and the process can read and write nothing else. Prints what was seen; exit 1 when it is not so.
import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { freePort, root, startGate } from './gate-process.mjs'

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'narrowgate-permission-')))
const [gate, log] = ['gate', 'log'].map(name => join(folder, name))
const main = join(root, 'dist/main.js')
// Stable since Node 23.5; Node 20 and 22 call it experimental.
const flag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission'
const seen = []
const check = (what, good) => { seen.push(good); console.log(`${good ? 'PASS' : 'FAIL'} ${what}`) }
let running

try {
  mkdirSync(log)
  execFileSync(process.execPath, [main, 'init', '--org', 'https://127.0.0.1:9', '--client-id', '0oa1exampleexample', '--client', 'helpdesk', '--directory', gate], { stdio: 'pipe' })
  const config = join(gate, 'narrowgate.yaml')
  const text = readFileSync(config, 'utf8').replaceAll('8443', String(await freePort())).replaceAll('9443', String(await freePort()))
  writeFileSync(config, text.replace(/sinks: .*/, `sinks: [{ file: { path: ${log}/audit.jsonl } }]`))
  const nodeArguments = [flag, `--allow-fs-read=${root}`, `--allow-fs-read=${gate}`, `--allow-fs-read=${log}`, `--allow-fs-write=${log}`]
  running = await startGate(config, { nodeArguments })
  check(`${process.version} ${flag}: it starts`, true)
  check('a call without a key is answered 401', (await fetch(`${running.url}/api/v1/users`)).status === 401)
  const before = await snapshot()
  appendFileSync(join(gate, 'policies/helpdesk.yaml'), '# touched\n')
  for (let i = 0; i < 100 && await snapshot() === before; i++) await wait(100)
  check('a changed policy is taken up', await snapshot() !== before)
  check('it ends with 0 on SIGTERM', await running.stop() === 0)
  check('the call is in the audit log', readFileSync(join(log, 'audit.jsonl'), 'utf8').includes('no_credential'))
  const probe = code => { try { execFileSync(process.execPath, [...nodeArguments, '-e', code], { stdio: 'pipe' }); return 'done' } catch (error) { return String(error.stderr) } }
  check('what may not be read is refused', probe('require("fs").readFileSync("/etc/passwd")').includes('ERR_ACCESS_DENIED'))
  check('what may not be written is refused', probe(`require("fs").writeFileSync("${gate}/x", "")`).includes('ERR_ACCESS_DENIED'))
  check('no program can be started', probe('require("child_process").execSync("true")').includes('ERR_ACCESS_DENIED'))
} catch (error) {
  check(String(error.message), false)
} finally {
  await running?.stop('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
}
process.exitCode = seen.every(Boolean) ? 0 : 1

async function snapshot () {
  return (await (await fetch(`${running.adminUrl}/readyz`)).json()).snapshot.hash
}
