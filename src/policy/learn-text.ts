import type { Learned } from './learn.js'
import type { LearnedRule } from './learn-rule.js'
import { NO_KEY, policyText, type CommentedRule, type PolicyHead } from './write-policy.js'

/** A learned rule with its evidence as the comment above it. */
export function withEvidence ({ rule, group, notes }: LearnedRule): CommentedRule {
  const calls = `${group.calls} call${group.calls === 1 ? '' : 's'}, ${span(group.first, group.last)}`
  return { rule, comment: [calls, ...notes] }
}

/** First and last minute, UTC. */
export function span (first: number, last: number): string {
  const [from, to] = [minute(first), minute(last)]
  return from === to ? from : `${from} to ${to}`
}

function minute (time: number): string {
  return `${new Date(time).toISOString().slice(0, 16)}Z`
}

/** Its tests speak of the rules that it had. */
const NO_RULES: object = { tests: undefined, allow: undefined }

/**
 * The policy file of what was learned.
 *
 * @param known the client's policy, when it has one: who it is and how it authenticates stay, its rules do not
 */
export function learnedPolicy (client: string, learned: Learned, known: PolicyHead | undefined): string {
  const head: PolicyHead = known === undefined
    ? { client, authenticate: [{ apiKey: { sha256: NO_KEY } }] }
    : { ...known, mode: undefined, observeSince: undefined, extends: undefined, ...NO_RULES }
  const left = [...learned.leftOut.values()].reduce((sum, count) => sum + count, 0)
  const comment = [
    `Learned from ${learned.calls} call${learned.calls === 1 ? '' : 's'}: what was seen is admitted, and nothing else. Above each rule its evidence.`,
    ...left === 0 ? [] : [`Left out: ${leftOutText(learned.leftOut)}.`]
  ]
  return policyText(head, learned.rules.map(withEvidence), comment)
}

/** `3 no operation of the catalogue, 2 refused: no_rule`. */
export function leftOutText (leftOut: ReadonlyMap<string, number>): string {
  return [...leftOut].sort(([, a], [, b]) => b - a).map(([why, count]) => `${count} ${why}`).join(', ')
}
