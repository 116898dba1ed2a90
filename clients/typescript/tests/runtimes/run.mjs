// Everything that runs the packed package somewhere: `node run.mjs`, with the environment that `server.mjs`, `page.mjs` and
// `listener.mjs` name.

import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const here = import.meta.dirname;
const { SUITE_KEY_FILE, SUITE_CA_FILE, SUITE_FOLDER } = process.env;
const key = readFileSync(SUITE_KEY_FILE, 'utf8').trim();
const bin = (name) => join(here, 'node_modules', name);
const secretsFile = join(SUITE_FOLDER, 'secrets');
writeFileSync(secretsFile, `${key}\n`, { mode: 0o600 });
const trust = { NODE_EXTRA_CA_CERTS: SUITE_CA_FILE, DENO_CERT: SUITE_CA_FILE };
const quiet = { DENO_DIR: join(SUITE_FOLDER, 'deno'), DENO_NO_UPDATE_CHECK: '1', NO_COLOR: '1', DO_NOT_TRACK: '1' };

const PACK = ['node', 'pack.mjs'];
/** A script on every runtime that a server has. */
const onServers = (script) => [
  ['node', script],
  [bin('node/bin/node'), script],
  [bin('.bin/deno'), 'run', '--quiet', '--no-lock', '--allow-all', script],
  [bin('.bin/bun'), script],
];
/** Each group at once: most of their time they wait for events. */
const RUNS = [
  [...onServers('server.mjs'), ['node', 'page.mjs'], ['node', 'metro.mjs'], ['node', 'types.mjs']],
  [...onServers('admin.mjs'), ['node', 'admin-page.mjs']],
];
const LIMIT_MS = 120_000;

/** Runs a command to its end, prints what it printed, and says whether all went well. */
async function run([program, ...words]) {
  const name = [program.replace(/^.*\//, ''), words.at(-1)].join(' ');
  const env = { ...process.env, ...trust, ...quiet, SUITE_SECRETS_FILE: secretsFile };
  const child = spawn(program, words, { cwd: here, env, timeout: LIMIT_MS, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const how = await new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(code === 0 ? undefined : `exit code ${code ?? signal}`));
  });
  // Whatever any of them has made so far.
  const secrets = readFileSync(secretsFile, 'utf8').trim().split('\n');
  process.stdout.write(secrets.reduce((text, secret) => text.replaceAll(secret, '[a credential]'), output));
  const leaks = secrets.some((secret) => output.includes(secret.slice(3, -3)));
  if (leaks) console.log(`FAIL ${name}: it prints no credential: one was printed`);
  if (how && !/^FAIL /m.test(output)) console.log(`FAIL ${name}: it runs to its end: ${how}`);
  return !leaks && how === undefined;
}

const packed = await run(PACK);
let isWell = packed;
if (packed) for (const group of RUNS) isWell = (await Promise.all(group.map(run))).every(Boolean) && isWell;
process.exit(isWell ? 0 : 1);
