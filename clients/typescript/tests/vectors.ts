// The vectors that the gateway is tested with as well.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One file of `clients/vectors`. */
export const vectors = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../vectors', `${name}.json`), 'utf8'));
