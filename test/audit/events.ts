import type { AuditEvent } from '../../src/domain/event.js'

/** An event of a forwarded call, with what a test changes. */
export function someEvent (changes: Partial<AuditEvent>): AuditEvent {
  return {
    time: Date.UTC(2026, 10, 22, 12, 30, 15, 7),
    id: 'e1',
    outcome: 'allowed',
    stage: 'observe',
    method: 'GET',
    path: '/api/v1/users',
    source: '192.0.2.1',
    bytesIn: 0,
    bytesOut: 12,
    durationMs: 3.25,
    ...changes
  }
}
