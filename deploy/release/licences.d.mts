export const ACCEPTED: ReadonlySet<string>
export function runtimePackages (root: string): Array<{ folder: string, name: string, version: string, integrity?: string, hasInstallScript: boolean }>
export function listLicences (root: string): Array<[name: string, version: string, licence: string, file: string]>
