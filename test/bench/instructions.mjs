// node test/bench/instructions.mjs [--warm N] [--requests N] [--gate FOLDER] [gate] [relay] [bare]: instructions that a
// process executes for a request, counted by valgrind's callgrind: what a clock says on a busy machine hangs on who else
// is there, this does not. The kernel's part is not in it. Nothing is compiled or collected beside the main thread, so
// warm up long enough: the second figure of each has to be near the first. --gate measures another build (a folder with
// dist/) than this one's. Minutes for each subject; needs valgrind and a node that knows --disable-wasm-trap-handler.
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { root } from '../support/gate-process.mjs'
import { writeGate } from './config.mjs'
import { refused, targets } from './mix.mjs'
import { BESIDE, here, load, MEASURED, run, startScript, stopAll } from './processes.mjs'

const { values, positionals } = parseArgs({ allowPositionals: true, options: { warm: { type: 'string', default: '6000' }, requests: { type: 'string', default: '800' }, gate: { type: 'string', default: root } } })
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const key = newKey(randomBytes)
const work = mkdtempSync(path.join(tmpdir(), 'narrowgate-instructions-'))
const upstream = await startScript('upstream.mjs', BESIDE)
const mixed = [...targets.slice(0, 24), refused[0], ...targets.slice(24), refused[1]]

/** Starts it under callgrind, not yet counting; `said` finds its URL in a line of what it says. */
async function counted (name, args, env, said) {
  const folder = path.join(work, name)
  mkdirSync(folder, { recursive: true })
  const child = run('valgrind', ['--tool=callgrind', '--instr-atstart=no', '--smc-check=all-non-file', '--max-stackframe=8388608', `--callgrind-out-file=${folder}/counts`, process.execPath, '--single-threaded', '--disable-wasm-trap-handler', ...args], { core: MEASURED, env })
  const url = await new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', line => { const found = said(line); if (found !== undefined) resolve(found) })
    child.once('exit', code => { reject(new Error(`${name} ended with ${code}: ${child.complaints}`)) })
  })
  return { child, folder, url }
}

const ofScript = line => line.startsWith('{"url"') ? JSON.parse(line).url : undefined
const ofGate = line => line.includes('"msg":"listening"') ? JSON.parse(line).url : undefined

async function start (name) {
  if (name !== 'gate') return await counted(name, [path.join(here, 'peers', `${name}.mjs`)], { UPSTREAM: upstream.url }, ofScript)
  const config = await writeGate(path.join(work, 'config'), { org: upstream.url, key })
  return await counted(name, [path.join(values.gate, 'dist/main.js'), 'serve', '-c', config], { OKTA_API_TOKEN: 'upstream-token' }, ofGate)
}

async function ask (name, url, requests) {
  const { wrong } = await load({ url, authorization: `SSWS ${key.key}`, connections: 16, requests, targets: name === 'gate' ? mixed : mixed.map(target => ({ ...target, status: 200 })) })
  if (wrong > 0) throw new Error(`${name}: ${wrong} calls were not answered as they should be`)
}

const control = (pid, ...args) => { execFileSync('callgrind_control', [...args, String(pid)], { stdio: 'ignore' }) }

/** What callgrind has counted since it was told to begin anew. */
function total (folder) {
  const [last] = readdirSync(folder).sort((a, b) => b.length - a.length || (a < b ? 1 : -1))
  return Number(/(?:summary|totals): (\d+)/.exec(readFileSync(path.join(folder, last), 'utf8'))?.[1])
}

try {
  const found = {}
  for (const name of positionals.length === 0 ? ['gate', 'relay'] : positionals) {
    const { child, folder, url } = await start(name)
    await ask(name, url, Number(values.warm))
    found[name] = []
    for (let round = 0; round < 2; round++) {
      control(child.pid, '-i', 'on')
      control(child.pid, '-z')
      await ask(name, url, Number(values.requests))
      control(child.pid, '-d')
      control(child.pid, '-i', 'off')
      await sleep(1000)
      found[name].push(Math.round(total(folder) / Number(values.requests)))
    }
    console.log(`${name}: ${found[name].join(' and ')} instructions a request`)
    child.kill('SIGKILL')
  }
  if (found.gate !== undefined && found.relay !== undefined) console.log(`gate / relay: ${(Math.min(...found.gate) / Math.min(...found.relay)).toFixed(2)}`)
} finally {
  await stopAll()
  rmSync(work, { recursive: true, force: true })
}
process.exit(0)
