import type { Operation } from '../domain/operation.js'
import { shapeOf } from './template.js'

const SUGGESTIONS = 3

/** Ids within a third of the written one's length by edit distance, letter case aside; nearest first, three at most. */
export function nearestIds (id: string, operations: readonly Operation[]): readonly string[] {
  const wanted = [...id.toLowerCase()]
  const most = Math.max(2, Math.floor(wanted.length / 3))
  return ranked(operations, operation => Math.abs(operation.id.length - wanted.length) > most
    ? Infinity
    : distance(wanted, [...operation.id.toLowerCase()], sameCost), most).map(operation => operation.id)
}

/**
 * Operations that a request line may have meant. First the same path under other methods; when there are none, paths
 * of at most half of the segments different, the same method first among equals.
 */
export function nearestTemplates (method: string, template: string, operations: readonly Operation[]): readonly Operation[] {
  const shape = shapeOf(template)
  const sameShape = operations.filter(operation => shapeOf(operation.template) === shape && operation.method !== method)
  if (sameShape.length > 0) return sameShape
  const wanted = segmentsOf(template)
  const otherMethod = 0.3
  return ranked(operations, operation => {
    const candidate = segmentsOf(operation.template)
    return distance(wanted, candidate, segmentCost) + (operation.method === method ? 0 : otherMethod)
  }, Math.max(1, Math.floor(wanted.length / 2)) + otherMethod)
}

function ranked (operations: readonly Operation[], costOf: (operation: Operation) => number, most: number): Operation[] {
  return operations.map(operation => ({ operation, cost: costOf(operation) }))
    .filter(({ cost }) => cost <= most)
    .sort((a, b) => a.cost - b.cost)
    .slice(0, SUGGESTIONS)
    .map(({ operation }) => operation)
}

function segmentsOf (template: string): readonly string[] {
  return shapeOf(template).split('/').filter(segment => segment !== '')
}

function sameCost (a: string, b: string): number {
  return a === b ? 0 : 1
}

/** Segments that are almost equal (a typing error) cost less than others. */
function segmentCost (a: string, b: string): number {
  if (a === b) return 0
  if (a === '{}' || b === '{}') return 0.8
  return distance([...a.toLowerCase()], [...b.toLowerCase()], sameCost) / Math.max(a.length, b.length)
}

/** Levenshtein's distance with a cost of its own for a replacement; insertions and deletions cost 1. */
function distance (a: readonly string[], b: readonly string[], replace: (a: string, b: string) => number): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1]
    for (let j = 0; j < b.length; j++) {
      next.push(Math.min(next[j]! + 1, row[j + 1]! + 1, row[j]! + replace(a[i]!, b[j]!)))
    }
    row = next
  }
  return row[b.length]!
}
