import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { printable } from '../domain/printable.js'
import { addAudit } from './audit.js'
import type { CheckOptions } from './check.js'
import type { DemoOptions } from './demo.js'
import type { DoctorOptions } from './doctor.js'
import type { DiffOptions } from './diff.js'
import type { EntitlementOptions } from './entitlements.js'
import { EXIT } from './exit.js'
import type { ExplainOptions } from './explain.js'
import { loadWithFewDescriptors } from './few-descriptors.js'
import type { FileOptions } from './files.js'
import type { ImportOptions } from './import.js'
import type { InitOptions } from './init.js'
import type { LimitsOptions } from './limits.js'
import type { PlanOptions } from './limits-plan.js'
import type { LearnCommandOptions } from './learn.js'
import { processShell, type Shell } from './shell.js'
import type { RotateOptions } from './upstream.js'
import { UsageFault } from './usage.js'

/** Runs a command and hands its exit code on. */
type Finish = (code: Promise<number>) => Promise<void>

/** Each loads its command's file only when it is called: `serve` needs no emulator, `keys` no Fastify. */
const commands: ReadonlyArray<(program: Command, shell: Shell, finish: Finish) => void> = [
  (program, _shell, finish) => {
    program.command('serve').description('run the gate; SIGHUP or a changed file reloads; SIGTERM drains')
      .requiredOption('-c, --config <file>', 'narrowgate.yaml')
      .action((options: { config: string }) => {
        loadWithFewDescriptors()
        return finish(import('./serve.js').then(({ serve }) => serve(options)))
      })
  },
  (program, shell, finish) => {
    program.command('demo').description('start an emulated Okta org and the gate in front of it, and make real calls through it')
      .option('--once', 'exit when the calls are done: 0 when every outcome was as expected')
      .option('--json', 'print the outcomes as JSON')
      .action((options: DemoOptions) => finish(import('./demo.js').then(({ demo }) => demo(shell, options))))
  },
  (program, shell, finish) => {
    program.command('init').description('ask for the org and write a first narrowgate.yaml, a policy and a key pair')
      .option('--org <url>', 'the org, e.g. https://acme.okta.com')
      .option('--client-id <id>', 'client id of the API service app')
      .option('--public-url <url>', 'origin that clients will use (default: http://127.0.0.1:8443)')
      .option('--client <name>', 'name of the first client (default: example-client)')
      .option('--directory <dir>', 'where to write', '.')
      .action((options: InitOptions) => finish(import('./init.js').then(({ init }) => init(shell, options))))
  },
  (program, shell, finish) => {
    program.command('check').description('compile everything and run the policies\' tests; findings as file:line:column')
      .option('-c, --config <file>', 'narrowgate.yaml')
      .option('--policies <dir>', 'a policies folder, without a narrowgate.yaml')
      .option('--junit <file>', 'write the tests\' results for a CI system')
      .option('--json', 'print findings as JSON')
      .action((options: CheckOptions) => finish(import('./check.js').then(({ check }) => check(shell, options))))
  },
  (program, shell, finish) => {
    program.command('explain').description('the decision that the gate would take, every rule tried, and why each did not apply')
      .option('-c, --config <file>', 'narrowgate.yaml')
      .option('--policies <dir>', 'a policies folder, without a narrowgate.yaml')
      .requiredOption('--client <id>', 'whose policy')
      .option('--body <file>', 'the request body, - for standard input')
      .option('--json', 'print the explanation as JSON')
      .argument('<method>', 'e.g. GET')
      .argument('<target>', 'e.g. /api/v1/users/00u1?limit=2')
      .action((method: string, target: string, options: ExplainOptions) => finish(import('./explain.js').then(({ explain }) => explain(shell, method, target, options))))
  },
  (program, shell, finish) => {
    program.command('diff').description('what each client gains and loses between two versions of the policies, with a request that shows it')
      .argument('<old>', 'a policies folder, a policy file, or a git revision: REV:path')
      .argument('<new>', 'likewise')
      .option('--client <id>', 'only this client')
      .option('--replay <files...>', 'audit logs of the gate: lists the recorded calls whose decision changes')
      .option('--json', 'print the differences as JSON')
      .option('--markdown', 'print them as Markdown, for a pull request')
      .action((before: string, after: string, options: DiffOptions) => finish(import('./diff.js').then(({ diff }) => diff(shell, before, after, options))))
  },
  (program, shell, finish) => {
    program.command('learn').description('the smallest policy that admits what an audit log shows, with its evidence')
      .requiredOption('--from <files...>', 'audit logs of the gate: JSON lines, gzipped or not, - for standard input')
      .option('-c, --config <file>', 'narrowgate.yaml, for operations.yaml and what the clients\' policies say beside rules')
      .option('--policies <dir>', 'a policies folder, without a narrowgate.yaml')
      .option('--client <id>', 'only this client')
      .option('--generalise <n>', 'a path parameter with at most n values gets a list of them; 0: none does (default: 3)')
      .option('--merge <policy>', 'print the patch that this policy file needs')
      .option('--directory <dir>', 'write one file per client there')
      .option('--json', 'print rules and evidence as JSON')
      .action((options: LearnCommandOptions) => finish(import('./learn.js').then(({ learn }) => learn(shell, options))))
  },
  (program, shell, finish) => {
    program.command('import').description('a policy from a plain list of operations, a HAR file or a Postman collection')
      .argument('<file>', 'lines like `name METHOD: /path?query (remark)`, or JSON; - for standard input')
      .option('-c, --config <file>', 'narrowgate.yaml, for the operations that operations.yaml declares')
      .option('--policies <dir>', 'a policies folder, without a narrowgate.yaml')
      .option('--client <id>', 'client id of the policy (default: imported)')
      .option('--json', 'print rules and findings as JSON')
      .action((file: string, options: ImportOptions) => finish(import('./import.js').then(({ importFile }) => importFile(shell, file, options))))
  },
  (program, shell, finish) => {
    program.command('entitlements').description('the OAuth scopes and admin rights that the policies need, what else those open, what is never used')
      .option('-c, --config <file>', 'narrowgate.yaml')
      .option('--policies <dir>', 'a policies folder, without a narrowgate.yaml')
      .option('--client <ids...>', 'only these clients')
      .option('--upstream <name>', 'only the clients of this upstream')
      .option('--usage <files...>', 'audit logs of the gate: adds the rules that no call has needed')
      .option('--days <n>', 'how far back a use counts (default: 90)')
      .option('--json', 'print the report as JSON')
      .option('--markdown', 'print the report as Markdown')
      .action((options: EntitlementOptions) => finish(import('./entitlements.js').then(({ entitlements }) => entitlements(shell, options))))
  },
  (program, shell, finish) => {
    program.command('doctor').description('connect to each org and check the gate\'s credential against the hardening rules; reads only')
      .requiredOption('-c, --config <file>', 'narrowgate.yaml')
      .option('--upstream <name>', 'only this upstream')
      .option('--as <client>', 'read with an auditor\'s service app instead: its client id')
      .option('--key <file>', 'the auditor\'s private key')
      .option('--json', 'print the findings as JSON')
      .action((options: DoctorOptions) => finish(import('./doctor.js').then(({ doctor }) => doctor(shell, options))))
  },
  (program, shell, finish) => {
    const upstream = program.command('upstream').description('what the gate presents to Okta')
    upstream.command('rotate').description('a new signing key without a gap: make it, print it for Okta, wait until Okta takes it, put it first')
      .requiredOption('-c, --config <file>', 'narrowgate.yaml')
      .option('--upstream <name>', 'which upstream, where several have a service app')
      .option('--algorithm <name>', 'ES256 or RS256 (default: ES256)')
      .option('--key <file>', 'go on with the key of an earlier run')
      .option('--wait <minutes>', 'how long to wait for Okta (default: 15)')
      .option('--write', 'put the key first in narrowgate.yaml')
      .option('--json', 'print { accepted, key, publicJwk, keys, written, removeOldAfter }')
      .action((options: RotateOptions) => finish(import('./upstream.js').then(({ rotate }) => rotate(shell, options))))
  },
  (program, shell, finish) => {
    const keys = program.command('keys').description('client keys')
    keys.command('new').description('make a key: shown once, with the line for the policy')
      .argument('<client>', 'client id of the policy')
      .option('--expires <date>', 'last day of the key, YYYY-MM-DD')
      .option('--json', 'print { client, key, sha256, policyLine }')
      .action((client: string, options: { expires?: string, json?: boolean }) => finish(import('./keys.js').then(({ newClientKey }) => newClientKey(shell, client, options))))
    const files = (command: Command): Command => command.option('-c, --config <file>', 'narrowgate.yaml').option('--policies <folder>', 'a policies folder alone')
    files(keys.command('list')).description('every way in: keys, key pairs, workloads, certificates; exit 1 when one ends within 30 days')
      .option('--usage <audit...>', 'audit logs to take the last use from')
      .option('--json', 'print { keys }')
      .action((options: FileOptions & { usage?: string[], json?: boolean }) => finish(import('./keys-manage.js').then(({ listKeys }) => listKeys(shell, options))))
    files(keys.command('rotate')).description('a second key for a client, written into its policy')
      .argument('<client>', 'client id of the policy')
      .option('--expires <date>', 'last day of the new key, YYYY-MM-DD')
      .option('--json', 'print { client, key, sha256, policyLine, file }')
      .action((client: string, options: FileOptions & { expires?: string, json?: boolean }) => finish(import('./keys-manage.js').then(({ rotateKey }) => rotateKey(shell, client, options))))
    files(keys.command('revoke')).description('take a key out of its policy')
      .argument('<client>', 'client id of the policy')
      .argument('<keyId>', 'first 8 or more hex digits of its sha256')
      .action((client: string, keyId: string, options: FileOptions) => finish(import('./keys-manage.js').then(({ revokeKey }) => revokeKey(shell, client, keyId, options))))
  },
  addAudit,
  (program, shell, finish) => {
    const limits = program.command('limits').description('buckets of a running gate, where each number comes from, and who uses them')
      .option('--url <url>', 'the admin listener', 'http://127.0.0.1:9443')
      .option('--watch', 'again every two seconds')
      .option('--json', 'print them as JSON')
      .action((options: LimitsOptions) => finish(import('./limits.js').then(({ limits: show }) => show(shell, options))))
    limits.command('plan').description('peak minute, headroom and a proposed share for each client and bucket')
      .requiredOption('--usage <file...>', 'audit logs, gzipped or not, - for standard input')
      .option('-c, --config <file>', 'narrowgate.yaml, for its limits')
      .option('--json', 'print the plan as JSON')
      .action((_: object, command: Command) => finish(import('./limits-plan.js').then(({ limitsPlan }) => limitsPlan(shell, command.optsWithGlobals<PlanOptions>()))))
  },
  (program, shell, finish) => {
    program.command('health').description('ask the admin listener whether the gate is live (for container health checks)')
      .option('--url <url>', 'the admin listener', 'http://127.0.0.1:9443')
      .action((options: { url: string }) => finish(import('./health.js').then(({ health }) => health(shell, options))))
  }
]

/**
 * The command line: `narrowgate COMMAND`.
 *
 * @param argv without node and the script
 * @returns the exit code: 0 fine, 1 findings, 2 wrong usage or files that would not load
 */
export async function run (argv: readonly string[], shell: Shell = processShell()): Promise<number> {
  const { out, err } = shell.terminal
  const program = new Command('narrowgate')
    .description('A least-privilege gate in front of the Okta API')
    .version(version())
    .exitOverride()
    .configureOutput({ writeOut: out, writeErr: err })
    .showHelpAfterError('(narrowgate --help lists the commands)')
  let code: number = EXIT.fine
  for (const add of commands) add(program, shell, async result => { code = await result })
  try {
    await program.parseAsync([...argv], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.fine : EXIT.usage
    if (error instanceof UsageFault) {
      err(`narrowgate: ${printable(error.message)}\n`)
      return EXIT.usage
    }
    throw error
  }
}

/** The package's version, from package.json beside src/ and dist/. */
export function version (): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
