// Everything that runs the packed package somewhere: `node run.mjs`, with the environment that `server.mjs` and `page.mjs` name.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const here = import.meta.dirname;
const { SUITE_KEY_FILE, SUITE_CA_FILE, SUITE_FOLDER } = process.env;
const key = readFileSync(SUITE_KEY_FILE, 'utf8').trim();
const bin = (name) => join(here, 'node_modules', name);
const trust = { NODE_EXTRA_CA_CERTS: SUITE_CA_FILE, DENO_CERT: SUITE_CA_FILE };
const quiet = { DENO_DIR: join(SUITE_FOLDER, 'deno'), DENO_NO_UPDATE_CHECK: '1', NO_COLOR: '1', DO_NOT_TRACK: '1' };

const PACK = ['node', 'pack.mjs'];
/** All at once: most of their time they wait for events. */
const RUNS = [
  ['node', 'server.mjs'],
  [bin('node/bin/node'), 'server.mjs'],
  [bin('.bin/deno'), 'run', '--quiet', '--no-lock', '--allow-all', 'server.mjs'],
  [bin('.bin/bun'), 'server.mjs'],
  ['node', 'page.mjs'],
  ['node', 'metro.mjs'],
  ['node', 'types.mjs'],
];
const LIMIT_MS = 120_000;

/** Runs a command to its end, prints what it printed, and says whether all went well. */
async function run([program, ...words]) {
  const name = [program.replace(/^.*\//, ''), words.at(-1)].join(' ');
  const env = { ...process.env, ...trust, ...quiet };
  const child = spawn(program, words, { cwd: here, env, timeout: LIMIT_MS, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const how = await new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(code === 0 ? undefined : `exit code ${code ?? signal}`));
  });
  process.stdout.write(output.replaceAll(key, '[the key]'));
  const leaks = output.includes(key.slice(3, -3));
  if (leaks) console.log(`FAIL ${name}: it prints no key: the key was printed`);
  if (how && !/^FAIL /m.test(output)) console.log(`FAIL ${name}: it runs to its end: ${how}`);
  return !leaks && how === undefined;
}

const packed = await run(PACK);
const all = packed ? await Promise.all(RUNS.map(run)) : [false];
process.exit(all.every(Boolean) ? 0 : 1);
