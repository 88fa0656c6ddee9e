import type { Config } from '../config/config.js'

/** What a running gate can't change: sockets that are open already, whether they speak TLS and ask for certificates, and sinks. */
export function needsRestart (before: Config, now: Config | undefined): string | undefined {
  if (now === undefined) return undefined
  const fixed = ({ listen: { host, port, tls, maxConnections, maxConnectionsPerAddress, maxRequests, shedAfterMs }, admin, audit, telemetry, tokens, workers }: Config): string[] =>
    [[host, port, tls !== undefined, tls?.clientCa !== undefined, maxConnections, maxConnectionsPerAddress, maxRequests, shedAfterMs], admin, audit, telemetry ?? null, tokens.onStoreLoss, workers].map(value => JSON.stringify(value, (name, part: unknown) => name === 'place' ? undefined : part))
  const [listen, adminNow, auditNow, telemetryNow, loss, workersNow] = fixed(now)
  const old = fixed(before)
  if (listen !== old[0]) return 'listen'
  if (adminNow !== old[1]) return 'admin'
  if (auditNow !== old[2]) return 'audit'
  if (telemetryNow !== old[3]) return 'telemetry'
  if (loss !== old[4]) return 'tokens.onStoreLoss'
  return workersNow !== old[5] ? 'workers' : undefined
}
