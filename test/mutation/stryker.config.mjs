// Mutation testing of one room: npm run mutation -- ROOM. What it found stands in test/README.md and survivors.md.
import { rooms } from './rooms.mjs'

const room = process.env.MUTATION_ROOM

export default {
  mutate: process.env.MUTATION_FILES?.split(',') ?? rooms[room].mutate,
  plugins: ['./test/mutation/runner.mjs'],
  testRunner: 'tap-in-process',
  buildCommand: 'tsc -p test/mutation/tsconfig.json',
  coverageAnalysis: 'perTest',
  ignoreStatic: false,
  // Modules that are loaded anew stay in memory.
  maxTestRunnerReuse: 100,
  concurrency: Number(process.env.MUTATION_CONCURRENCY ?? 2),
  // Generous: on a busy machine a mutant that was only starved must not count as killed.
  timeoutMS: 240_000,
  timeoutFactor: 10,
  allowConsoleColors: false,
  reporters: ['progress-append-only', 'as-it-goes'],
  warnings: { slow: false },
  tempDirName: '.stryker-tmp',
  cleanTempDir: 'always',
  ignorePatterns: ['dist', '.tap', '.fuzz', 'release', 'docs', 'deploy', '.stryker-tmp']
}
