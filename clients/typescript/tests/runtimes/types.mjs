// The types that the packed package has, as three kinds of projects resolve them.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { report } from './report.mjs';

const folder = mkdtempSync(join(import.meta.dirname, 'node_modules/.types-'));
const file = join(folder, 'project.mts');
writeFileSync(
  file,
  `import { buildWebSocketOptions, createWebSocket, type ReconnectingSocket, TokenSource } from 'keymoat';
  import keymoat from 'keymoat/eslint';
  import { carryTokensInSubprotocols } from 'keymoat/google-genai';
  import { type EventStreamState, useEventStream } from 'keymoat/react';
  export const socket: ReconnectingSocket = createWebSocket('/ws', { token: TokenSource.literal('x') });
  export const url: string = buildWebSocketOptions('/ws').url;
  export const hook: (endpoint: string) => EventStreamState<number> = useEventStream<number>;
  export const restore: () => void = carryTokensInSubprotocols();
  export const config: object[] = [keymoat.configs.recommended];
  // @ts-expect-error There is no such option: the types are really there.
  buildWebSocketOptions('/ws', { query: 'x' });
  `,
);
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
const check = async (...words) => {
  const options = ['--ignoreConfig', '--noEmit', '--strict', '--lib', 'es2022,dom'];
  try {
    await promisify(execFile)('node', [tsc, ...options, ...words, file]);
  } catch (error) {
    throw new Error(error.stdout || error.message, { cause: error });
  }
};

await report(
  'Types',
  {
    'of a project for Node': () => check('--module', 'nodenext', '--moduleResolution', 'nodenext'),
    'of a project with a bundler': () => check('--module', 'esnext', '--moduleResolution', 'bundler'),
    'of a project for React Native': () =>
      check('--module', 'esnext', '--moduleResolution', 'bundler', '--customConditions', 'react-native'),
  },
  () => rmSync(folder, { recursive: true, force: true }),
);
