import type { ChildProcess } from 'node:child_process'

export function startUpstream (): Promise<{ received: Set<string>, origin: string, close: () => void }>
export function killRounds (options: { start: () => Promise<{ url: string, child: ChildProcess }>, key: string, rounds: number, loadMs: number, perSecond: number }): Promise<{ answered: number, sent: number }>
export function auditFiles (folder: string, name: string): string[]
export function readOutcomes (files: readonly string[]): Promise<{ intents: Map<string, string>, ends: Map<string, string> }>
