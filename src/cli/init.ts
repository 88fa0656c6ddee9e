import { chmod, mkdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { exportJWK, exportPKCS8, generateKeyPair } from 'jose'
import { formats } from '../config/formats.js'
import { EXIT } from './exit.js'
import { firstFiles, SERVICE_APP_KEY, type FirstAnswers } from './init-files.js'
import { checkClientId, makeClientKey } from './keys.js'
import type { Prompt, Shell } from './shell.js'
import { UsageFault } from './usage.js'

/** Flags of `narrowgate init`. */
export interface InitOptions {
  readonly org?: string
  readonly clientId?: string
  readonly publicUrl?: string
  readonly client?: string
  readonly directory: string
}

/** One thing to know before anything can be written. */
interface Question {
  readonly name: keyof FirstAnswers
  readonly flag: string
  readonly text: string
  readonly fallback?: string
  /** what is wrong with an answer */
  readonly check: (answer: string) => string | undefined
}

const QUESTIONS: readonly Question[] = [
  { name: 'org', flag: '--org', text: 'Okta org (https://acme.okta.com)', check: format('org') },
  { name: 'clientId', flag: '--client-id', text: 'Client id of its API service app (0oa…)', check: clientIdProblem },
  { name: 'publicUrl', flag: '--public-url', text: 'Origin that clients will use', fallback: 'http://127.0.0.1:8443', check: format('public-origin') },
  { name: 'client', flag: '--client', text: 'Name of the first client', fallback: 'example-client', check: clientProblem }
]

/**
 * `narrowgate init`: asks what is not given as a flag, and writes a first narrowgate.yaml, a policy with a fresh
 * client key, and a key pair for the service app. Overwrites nothing.
 *
 * @throws UsageFault when an answer is missing or wrong, or a file stands in the way
 */
export async function init (shell: Shell, options: InitOptions): Promise<number> {
  const answers = await ask(options, shell.prompt)
  const directory = resolve(options.directory)
  const { privateKey, publicKey } = await generateKeyPair('RS256', { modulusLength: 2048, extractable: true })
  const clientKey = makeClientKey(answers.client, undefined, shell.now())
  const files = firstFiles(answers, clientKey, await exportPKCS8(privateKey), { ...await exportJWK(publicKey), use: 'sig', alg: 'RS256' })
  await write(directory, files)

  const { out, err } = shell.terminal
  const shown = (path: string): string => join(relative(process.cwd(), directory), path)
  for (const path of files.keys()) err(`wrote ${shown(path)}\n`)
  out(`${clientKey.key}\n`)
  err(`
That line is the key of ${answers.client}: it is shown once, its policy keeps only the hash.

Next:
  1. In Okta, open the API service app ${answers.clientId} and add the public key of
     ${shown(SERVICE_APP_KEY.public)}; grant it the scopes and the admin role that its calls need.
  2. narrowgate check -c ${shown('narrowgate.yaml')}
  3. narrowgate serve -c ${shown('narrowgate.yaml')}
  4. curl -H "Authorization: SSWS $KEY" ${answers.publicUrl}/api/v1/users/00u…
`)
  return EXIT.fine
}

async function ask (options: InitOptions, openPrompt: (() => Prompt) | undefined): Promise<FirstAnswers> {
  const missing = QUESTIONS.filter(({ name, fallback }) => options[name] === undefined && fallback === undefined)
  if (openPrompt === undefined && missing.length > 0) throw new UsageFault(`nobody is there to ask: give ${missing.map(({ flag }) => flag).join(' and ')}`)
  const prompt = openPrompt?.()
  try {
    const answers: Partial<Record<keyof FirstAnswers, string>> = {}
    for (const question of QUESTIONS) answers[question.name] = await answerOf(question, options[question.name], prompt)
    return answers as FirstAnswers
  } finally {
    prompt?.close()
  }
}

/** A flag is judged once; a person may try again. */
async function answerOf (question: Question, given: string | undefined, prompt: Prompt | undefined): Promise<string> {
  const { flag, text, fallback, check } = question
  const settled = given ?? (prompt === undefined ? fallback : undefined)
  if (settled !== undefined) {
    const wrong = check(settled)
    if (wrong !== undefined) throw new UsageFault(`${flag} ${wrong}`)
    return settled
  }
  let hint = ''
  for (;;) {
    const typed = (await prompt!.ask(`${hint}${text}${fallback === undefined ? '' : ` [${fallback}]`}: `)).trim()
    const answer = typed === '' && fallback !== undefined ? fallback : typed
    const wrong = check(answer)
    if (wrong === undefined) return answer
    hint = `  it ${wrong}\n`
  }
}

function format (name: string): (answer: string) => string | undefined {
  return answer => {
    const wrong = formats.get(name)!(answer)
    return wrong === undefined ? undefined : [wrong.message, wrong.hint].filter(Boolean).join('; ')
  }
}

function clientIdProblem (answer: string): string | undefined {
  return /^[A-Za-z0-9_-]{1,100}$/.test(answer) ? undefined : 'must be the client id that Okta shows for the app: letters, digits, _ and -'
}

function clientProblem (answer: string): string | undefined {
  try { checkClientId(answer) } catch (error) { return `is ${(error as UsageFault).message}` }
  return answer.toLowerCase() === 'operations' ? 'must not be operations: operations.yaml is for operations' : undefined
}

/** All or nothing: whatever stands in the way is named before the first file is written. */
async function write (directory: string, files: ReadonlyMap<string, { text: string, secret: boolean }>): Promise<void> {
  for (const path of files.keys()) {
    if (await exists(join(directory, path))) throw new UsageFault(`${join(directory, path)} exists already, and nothing is overwritten`)
  }
  try {
    for (const [path, { text, secret }] of files) {
      const full = join(directory, path)
      await mkdir(dirname(full), { recursive: true })
      if (secret) await chmod(dirname(full), 0o700)
      // wx: what appeared since is not overwritten either.
      await writeFile(full, text, { flag: 'wx', mode: secret ? 0o600 : 0o644 })
    }
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException
    throw new UsageFault(`${path ?? directory} cannot be written (${code ?? 'unknown reason'})`)
  }
}

async function exists (path: string): Promise<boolean> {
  try { await stat(path); return true } catch (error) { return (error as NodeJS.ErrnoException).code !== 'ENOENT' }
}
