import type { Command } from 'commander'
import type { QueryOptions } from './audit-query.js'
import type { ReportOptions } from './audit-report.js'
import type { TailOptions } from './audit-tail.js'
import type { VerifyCommandOptions } from './audit-verify.js'
import type { Shell } from './shell.js'

/** `narrowgate audit …`: each loads its file when it is called. */
export function addAudit (program: Command, shell: Shell, finish: (code: Promise<number>) => Promise<void>): void {
  const audit = program.command('audit').description('read, search, sum up and verify audit logs')
  const choose = (command: Command): Command => command
    .option('--client <id>', 'only this client')
    .option('--operation <id>', 'only this operationId')
    .option('--outcome <outcome>', 'allowed, refused, limited, failed, aborted, pending or unknown')
  choose(audit.command('tail')).description('follow a log, one readable line per event')
    .argument('<file>', 'an audit file of the gate, in any format')
    .option('--lines <n>', 'how many of the last lines to begin with', '10')
    .action((file: string, options: TailOptions) => finish(import('./audit-tail.js').then(({ tail }) => tail(shell, file, options))))
  choose(audit.command('query')).description('search logs, with the files that were put aside beside them; exit 1 when nothing is found')
    .argument('<files...>', 'audit files, gzipped or not, - for standard input')
    .option('--id <id>', 'a request\'s id: errorId, X-Narrowgate-Request-Id or X-Okta-Request-Id')
    .option('--resource <id>', 'an id in the path, e.g. of a user')
    .option('--since <time>', 'e.g. 2026-11-22, 2026-11-22T10:00Z, 90m, 12h, 7d')
    .option('--until <time>', 'likewise')
    .option('--all', 'intents too, and what was noted while a request ran')
    .option('--json', 'print events as JSON lines, under the names of the plain format')
    .action((files: string[], options: QueryOptions) => finish(import('./audit-query.js').then(({ query }) => query(shell, files, options))))
  audit.command('report').description('a week in a page: per client calls, refusals, limits; unused rules; keys about to expire')
    .argument('<files...>', 'audit files, gzipped or not, - for standard input')
    .option('--days <n>', 'how many days (default: 7)')
    .option('-c, --config <file>', 'narrowgate.yaml: adds unused rules and what expires')
    .option('--policies <dir>', 'a policies folder, without a narrowgate.yaml')
    .option('--json', 'print the report as JSON')
    .action((files: string[], options: ReportOptions) => finish(import('./audit-report.js').then(({ report }) => report(shell, files, options))))
  audit.command('verify').description('check the hash chain and its signatures; exit 1 when something was removed, changed, inserted, moved or cut off')
    .argument('<files...>', 'audit files of one gate; those put aside beside them are included')
    .option('--key <file>', 'the gate\'s Ed25519 key, public or private, PEM')
    .option('--anchor <files...>', 'logs of other sinks: the checkpoints in them are compared')
    .option('--json', 'print the verdict as JSON')
    .action((files: string[], options: VerifyCommandOptions) => finish(import('./audit-verify.js').then(({ verifyFiles }) => verifyFiles(shell, files, options))))
}
