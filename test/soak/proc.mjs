// What the operating system says of a process, and whether it stays level.
import { readdirSync, readFileSync } from 'node:fs'

/** Resident memory in kB, open descriptors, threads. */
export function sample (pid, at) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const read = name => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)[1])
  return { at, rssKb: read('VmRSS'), fds: readdirSync(`/proc/${pid}/fd`).length, threads: read('Threads') }
}

/** CPU seconds so far, all threads. */
export function cpuSeconds (pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/**
 * How much a figure grows from the first to the last sample, by the line through them (least squares over requests done):
 * a single collection of garbage, early or late, moves it little.
 */
export function growth (samples, field) {
  const n = samples.length
  if (n < 2) return 0
  const x = samples.reduce((sum, each) => sum + each.at, 0) / n
  const y = samples.reduce((sum, each) => sum + each[field], 0) / n
  const slope = samples.reduce((sum, each) => sum + (each.at - x) * (each[field] - y), 0) / samples.reduce((sum, each) => sum + (each.at - x) ** 2, 0)
  return slope * (samples.at(-1).at - samples[0].at)
}
