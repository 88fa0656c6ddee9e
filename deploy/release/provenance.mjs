/**
 * How the contents were made: an in-toto Statement v1 with SLSA's provenance v1 as its predicate. It is not signed:
 * whoever publishes signs it with a key that is theirs.
 *
 * @param {{ name: string, version: string, commit: string, started: Date, finished: Date, contents: string, sbom: object }} facts
 *   contents: SHA-256 of contents.sha256, which holds the SHA-256 of every file
 */
export function makeProvenance ({ name, version, commit, started, finished, contents, sbom }) {
  return {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: `${name}-${version}/contents.sha256`, digest: { sha256: contents } }],
    predicateType: 'https://slsa.dev/provenance/v1',
    predicate: {
      buildDefinition: {
        buildType: 'urn:narrowgate:build:deploy/release.mjs:1',
        externalParameters: { commit },
        internalParameters: { node: process.version, platform: `${process.platform}-${process.arch}` },
        resolvedDependencies: [
          { uri: 'git+.', digest: { gitCommit: commit } },
          ...sbom.components.map(({ purl, hashes = [] }) => ({ uri: purl, digest: Object.fromEntries(hashes.map(({ alg, content }) => [alg.toLowerCase().replace('-', ''), content])) }))
        ]
      },
      runDetails: {
        builder: { id: process.env.BUILDER_ID ?? 'urn:narrowgate:builder:unnamed' },
        metadata: { startedOn: started.toISOString(), finishedOn: finished.toISOString() }
      }
    }
  }
}
