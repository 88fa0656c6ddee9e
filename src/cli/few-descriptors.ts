import { register } from 'node:module'
import { softLimit } from '../server/descriptors.js'

/** Node opens the files of a program all at once: the gate's some 150 at a time. */
const ENOUGH = 256

/**
 * Lets the program be loaded by a process with few file descriptors (`ulimit -n 64`): a few files at a time. To be
 * called before what is large is imported. Does nothing where there are enough: the hook costs a thread.
 */
export function loadWithFewDescriptors (): void {
  if ((softLimit() ?? ENOUGH) < ENOUGH) register('./load-in-turn.js', import.meta.url)
}
