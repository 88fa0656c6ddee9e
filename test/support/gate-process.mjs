// Starts the built gate (dist/) as an operator would: a config file, a process, two listeners.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import path from 'node:path'

export const root = path.resolve(fileURLToPath(import.meta.url), '../../..')

/** A port of 127.0.0.1 that was free a moment ago. */
export async function freePort () {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/**
 * @param {string} config path of narrowgate.yaml
 * @param {{ env?: Record<string, string>, nodeArguments?: string[], program?: string, core?: number, onStart?: (child: import('node:child_process').ChildProcess) => void }} [options] `onStart` gets the process before it listens, `program` is another main.js
 * @returns {Promise<{ url: string, adminUrl: string, pid: number, output: () => string, stop: (signal?: NodeJS.Signals) => Promise<number | null>, child: import('node:child_process').ChildProcess }>}
 */
export async function startGate (config, options = {}) {
  const program = [process.execPath, ...(options.nodeArguments ?? []), options.program ?? path.join(root, 'dist/main.js'), 'serve', '-c', config]
  if (options.core !== undefined) program.unshift('taskset', '-c', String(options.core))
  const child = spawn(program[0], program.slice(1), {
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  options.onStart?.(child)
  let output = ''
  child.stdout.on('data', chunk => { output += chunk })
  const listening = new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', line => {
      output += line + '\n'
      try {
        const entry = JSON.parse(line)
        if (entry.msg === 'listening') resolve(entry)
      } catch { /* not a log line */ }
    })
    child.once('exit', code => reject(new Error(`the gate ended with ${code} before it listened:\n${output}`)))
  })
  const { url, adminUrl } = await listening
  return {
    url,
    adminUrl,
    pid: child.pid,
    child,
    output: () => output,
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode !== null) return child.exitCode
      child.kill(signal)
      const [code] = await once(child, 'exit')
      return code
    }
  }
}
