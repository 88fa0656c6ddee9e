// The environment in which image and unit start the gate, for what measures it as it is shipped.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { root } from './gate-process.mjs'

/** @type {Record<string, string>} what the image's last stage sets */
export const shippedEnvironment = Object.fromEntries(/^ENV (.+)$/m.exec(readFileSync(path.join(root, 'Dockerfile'), 'utf8'))[1].split(' ').map(one => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]))
