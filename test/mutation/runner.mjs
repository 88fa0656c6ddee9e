// A Stryker test runner for this project's tap files: they are loaded once, and each mutant runs the tests that reach it, in the same process
// and with tap's own assertions. Starting a process for each would cost a second a mutant.
import { register } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { declareClassPlugin, PluginKind } from '@stryker-mutator/api/plugin'
import { DryRunStatus, TestStatus, toMutantRunResult } from '@stryker-mutator/api/test-runner'
import { taken } from './collected.mjs'
import { killedBefore, writeResult } from './results.mjs'
import { rooms } from './rooms.mjs'

// tap tells a parent process of its time-outs; Stryker's parent takes no messages but its own, which are texts.
const { send } = process
if (send !== undefined) process.send = (message, ...rest) => typeof message !== 'string' || send.call(process, message, ...rest)
// Stryker has time-outs of its own, which know how long a test takes without a mutant.
process.env.TAP_TIMEOUT = '0'
const { Test } = await import('tap')

const TICK_MS = 500
const QUIET_TICKS = 12
/** Of a tick that the event loop may spend on something, where nothing but this timer is awaited. */
const QUIET_PART = 0.05

class InProcessRunner {
  #files = rooms[process.env.MUTATION_ROOM].tests
  #without = rooms[process.env.MUTATION_ROOM].without
  #fresh = rooms[process.env.MUTATION_ROOM].fresh === true
  #wasKilled = killedBefore(process.env.MUTATION_ROOM)
  #tests
  #version = 0
  #stray

  capabilities () { return { reloadEnvironment: true } }

  async init () {
    register('./hooks.mjs', import.meta.url)
    // A test that has passed may leave a promise behind that a mutant lets fail.
    process.on('unhandledRejection', error => { this.#stray ??= error })
    process.on('uncaughtException', error => { this.#stray ??= error })
  }

  async dryRun () {
    const stryker = globals()
    stryker.activeMutant = undefined
    stryker.mutantCoverage = { static: {}, perTest: {} }
    await this.#load()
    const results = []
    for (const test of this.#tests) {
      stryker.currentTestId = test.id
      results.push(await this.#run(test))
      stryker.currentTestId = undefined
    }
    return { status: DryRunStatus.Complete, tests: results, mutantCoverage: stryker.mutantCoverage }
  }

  async mutantRun ({ activeMutant, testFilter, hitLimit, mutantActivation, reloadEnvironment }) {
    if (this.#wasKilled(activeMutant)) return toMutantRunResult({ status: DryRunStatus.Complete, tests: [{ id: 'before', name: 'before', timeSpentMs: 0, status: TestStatus.Failed, failureMessage: 'an earlier run killed it' }] })
    const stryker = globals()
    stryker.hitCount = hitLimit === undefined ? undefined : 0
    stryker.hitLimit = hitLimit
    stryker.activeMutant = mutantActivation === 'static' ? activeMutant.id : undefined
    const results = []
    try {
      if (reloadEnvironment || this.#fresh || this.#tests === undefined) await this.#load()
    } catch (error) {
      // Without the tests there is nothing left to keep for the next mutant.
      this.#tests = undefined
      return toMutantRunResult({ status: DryRunStatus.Complete, tests: [{ id: 'load', name: 'load', timeSpentMs: 0, status: TestStatus.Failed, failureMessage: text(error) }] })
    }
    stryker.activeMutant = activeMutant.id
    for (const test of this.#tests ?? []) {
      if (testFilter !== undefined && !testFilter.includes(test.id)) continue
      const result = await this.#run(test)
      results.push(result)
      if (result.status === TestStatus.Failed) break
    }
    // Modules that were loaded with the mutant in them are of no use for the next one.
    if (mutantActivation === 'static') this.#tests = undefined
    return toMutantRunResult({ status: DryRunStatus.Complete, tests: results })
  }

  async #load () {
    this.#version++
    this.#tests = []
    for (const file of this.#files) {
      taken()
      await import(`${pathToFileURL(path.resolve(`${file}.js`)).href}?v=${this.#version}`)
      this.#tests.push(...taken().filter(test => this.#without?.test(test.name) !== true).map(test => ({ ...test, id: `${file}: ${test.name}` })))
    }
  }

  async #run ({ id, name, body }) {
    const begun = performance.now()
    this.#stray = undefined
    const test = new Test({ name, bail: true, cb: body })
    let said = ''
    test.on('data', chunk => { said += chunk })
    const over = new Promise(resolve => { test.once('end', resolve) })
    test.runMain(() => {})
    const idle = new Idle()
    const ended = await Promise.race([over.then(() => true), idle.found])
    idle.stop()
    // What still waits in it would go on with the next mutant.
    if (!ended) { this.#tests = undefined; return { id, name: id, timeSpentMs: Math.round(performance.now() - begun), status: TestStatus.Failed, failureMessage: 'it waits for what will not come' } }
    const passed = test.passing() && this.#stray === undefined
    const result = { id, name: id, timeSpentMs: Math.round(performance.now() - begun) }
    return passed
      ? { ...result, status: TestStatus.Success }
      : { ...result, status: TestStatus.Failed, failureMessage: this.#stray === undefined ? said.slice(0, 2000) : text(this.#stray) }
  }
}

/**
 * Finds out that nothing happens any more: the event loop does nothing but wait, for longer than any test does. Not the CPU tells
 * that: a process that others keep from running uses none either.
 */
class Idle {
  #quiet = 0
  #before = performance.eventLoopUtilization()
  #timer

  constructor () {
    this.found = new Promise(resolve => {
      this.#timer = setInterval(() => { if (this.#isQuiet()) resolve(false) }, TICK_MS)
    })
  }

  stop () { clearInterval(this.#timer) }

  #isQuiet () {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, this.#before)
    this.#before = now
    this.#quiet = utilization < QUIET_PART ? this.#quiet + 1 : 0
    return this.#quiet >= QUIET_TICKS
  }
}

function globals () {
  globalThis.__stryker__ ??= {}
  return globalThis.__stryker__
}

function text (error) {
  return error instanceof Error ? error.stack ?? error.message : String(error)
}

class AsItGoes {
  onMutantTested (mutant) { writeResult(process.env.MUTATION_ROOM, mutant) }
}

export const strykerPlugins = [declareClassPlugin(PluginKind.TestRunner, 'tap-in-process', InProcessRunner), declareClassPlugin(PluginKind.Reporter, 'as-it-goes', AsItGoes)]
