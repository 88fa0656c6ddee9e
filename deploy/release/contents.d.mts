export interface Entry { readonly path: string, readonly digest: string, readonly executable: boolean }
export function sha256 (data: string | Uint8Array): string
export function listContents (folder: string): Entry[]
export function differences (one: readonly Entry[], two: readonly Entry[]): string[]
