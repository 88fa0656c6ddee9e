import { readFile } from 'node:fs/promises'
import { UsageFault } from './usage.js'

/** A file that a flag names. @throws UsageFault */
export async function readText (path: string, flag: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new UsageFault(`${flag}: ${path} cannot be read (${String((error as NodeJS.ErrnoException).code)})`)
  }
}
