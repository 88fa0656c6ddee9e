import type { Problem } from '../domain/problem.js'
import { didYouMean } from './nearest.js'
import type { WrittenFile, WrittenSet } from './written.js'

/**
 * The sets that a file extends, in the order in which their rules are tried: as they are listed, each followed by
 * those that it extends itself, every set once.
 */
export function extendedSets (file: WrittenFile, sets: ReadonlyMap<string, WrittenSet>): readonly WrittenSet[] {
  const found = new Set<WrittenSet>()
  const collect = (from: WrittenFile): void => {
    for (const name of from.value.extends ?? []) {
      const set = sets.get(name)
      if (set === undefined || found.has(set)) continue
      found.add(set)
      collect(set)
    }
  }
  collect(file)
  return [...found]
}

/** Sets that are named and do not exist, each where it is named. */
export function missingSets (file: WrittenFile, sets: ReadonlyMap<string, WrittenSet>, unreadable: ReadonlySet<string>): Problem[] {
  const problems: Problem[] = []
  const seen = new Set<string>()
  for (const [i, name] of (file.value.extends ?? []).entries()) {
    const path = ['extends', i]
    if (seen.has(name)) problems.push(file.yaml.problem(path, `"${name}" stands here twice`, { severity: 'warning' }))
    seen.add(name)
    // Its own problems are said where it stands.
    if (sets.has(name) || unreadable.has(name)) continue
    const hint = didYouMean(name, sets.keys()) ?? 'sets stand below the policies folder, e.g. sets/read-directory.yaml'
    problems.push(file.yaml.problem(path, `there is no set "${name}"`, { hint }))
  }
  return problems
}

/** Every circle of sets that extend each other, once, with its chain. */
export function cyclicSets (sets: ReadonlyMap<string, WrittenSet>): Problem[] {
  const problems: Problem[] = []
  const done = new Set<string>()
  const visit = (set: WrittenSet, chain: readonly string[]): void => {
    for (const [i, name] of (set.value.extends ?? []).entries()) {
      const at = chain.indexOf(name)
      if (at >= 0) problems.push(set.yaml.problem(['extends', i], `sets extend each other: ${[...chain.slice(at), name].join(' → ')}`))
      const next = sets.get(name)
      if (at < 0 && next !== undefined && !done.has(name)) visit(next, [...chain, name])
    }
    done.add(set.name)
  }
  for (const set of sets.values()) if (!done.has(set.name)) visit(set, [set.name])
  return problems
}
