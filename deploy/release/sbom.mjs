import { execFileSync } from 'node:child_process'
import { sha256 } from './contents.mjs'

/**
 * The runtime tree as CycloneDX, from npm itself. The time of the commit and an id made of the contents stand where npm
 * puts the clock and a random number, so that the same commit gives the same document.
 *
 * @returns {{ name: string, version: string, sbom: string }}
 */
export function makeSbom (root, committed) {
  const text = execFileSync('npm', ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--omit', 'dev', '--package-lock-only'], { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 })
  const document = JSON.parse(text)
  const { version } = document.metadata.component
  const name = document.metadata.component['bom-ref'].split('@')[0]
  document.metadata.component.name = name
  document.metadata.timestamp = committed.toISOString()
  delete document.serialNumber
  const digest = sha256(JSON.stringify(document))
  // RFC 9562 section 5.8: an id of the maker's own layout.
  const id = `${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-8${digest.slice(17, 20)}-${digest.slice(20, 32)}`
  const { $schema, bomFormat, specVersion, ...rest } = document
  return { name, version, sbom: JSON.stringify({ $schema, bomFormat, specVersion, serialNumber: `urn:uuid:${id}`, ...rest }, null, 2) + '\n' }
}
