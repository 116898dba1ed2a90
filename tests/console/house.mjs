// A gateway of the suite's own: an emulated API, a configuration with a route that still takes keys in URLs, and clients of both kinds.
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';

const { SUITE_BINARY, SUITE_FOLDER } = process.env;
const READY_MS = 30_000;
/** The real key of the emulated API. */
export const UPSTREAM_KEY = 'AIzaTestsOnly-UpstreamCanary0UpstreamCanary0Upstream';
export let folder = `${SUITE_FOLDER}/house`;

const CONFIGURATION = `
[admin]
listen = "127.0.0.1:0"

[upstream.events]
url = "EMULATOR"
secret = "\${file:FOLDER/upstream.key}"
inject = "header:X-API-Key"

[upstream.gemini]
preset = "gemini"
url = "EMULATOR"
secret = "\${file:FOLDER/upstream.key}"

[route.events]
upstream = "events"
paths = ["/api/*", "/ws/events"]
carriers = ["header:x-api-key", "header:authorization", "subprotocol", "query:api_key"]
query = "warn"
sunset = 2027-03-01

[route.gemini]
upstream = "gemini"
`;

const children = [];

/** Starts `keymoat ARGUMENTS`, and gives the object that it prints when it is ready. */
async function start(name, ...words) {
  const child = spawn(SUITE_BINARY, words, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  let [printed, said] = ['', ''];
  child.stderr.on('data', (chunk) => writeFileSync(`${folder}/${name}.log`, (said += chunk)));
  return new Promise((ready, fail) => {
    const timer = setTimeout(() => fail(new Error(`the ${name} is not ready: ${said}`)), READY_MS);
    child.on('exit', (code) => fail(new Error(`the ${name} ended with ${code}: ${said}`)));
    child.stdout.on('data', (chunk) => {
      printed += chunk;
      const [line, rest] = printed.split('\n');
      if (rest === undefined) return;
      clearTimeout(timer);
      ready(JSON.parse(line));
    });
  });
}

/** Starts everything, in the folder `name`, after `prepare` has put into it what is to be there. */
export async function open(name = 'house', prepare = async () => {}) {
  folder = `${SUITE_FOLDER}/${name}`;
  mkdirSync(folder, { recursive: true });
  await prepare();
  writeFileSync(`${folder}/upstream.key`, UPSTREAM_KEY, { mode: 0o600 });
  const words = ['emulate', 'gemini', '--listen', '127.0.0.1:0', '--json', '--secret-file', 'upstream.key'];
  const { emulator } = await start('emulator', ...words);
  writeFileSync(`${folder}/keymoat.toml`, CONFIGURATION.replaceAll('EMULATOR', emulator.replace(/\/$/, '')).replaceAll('FOLDER', folder));
  return start('gateway', 'serve', '--json', '--listen', '127.0.0.1:0', '--config', 'keymoat.toml');
}

/** Runs a command to its end, and gives what it printed. */
export async function command(...words) {
  const { stdout } = await promisify(execFile)(SUITE_BINARY, words, { cwd: folder });
  return stdout.trim();
}

/** A client that keeps a WebSocket open until somebody ends it; `closed` gives the lines that it printed. It sends `first`, if there is anything. */
export function listen(url, credential, carrier, { first = '', more = [] } = {}) {
  const file = `${folder}/${Math.random().toString(36).slice(2)}.secret`;
  writeFileSync(file, credential, { mode: 0o600 });
  const words = ['ws', '--json', '--secret-file', file, '--carrier', carrier, ...more, url];
  const child = spawn(SUITE_BINARY, words, { cwd: folder, stdio: ['pipe', 'pipe', 'pipe'] });
  children.push(child);
  if (first) child.stdin.write(`${first}\n`);
  let printed = '';
  child.stdout.on('data', (chunk) => (printed += chunk));
  child.stderr.on('data', (chunk) => (printed += chunk));
  const closed = new Promise((over) => child.on('exit', () => over(printed)));
  return { closed, end: () => child.kill() };
}

/** Everything that the gateway wrote to its log. */
export const log = () => readFileSync(`${folder}/gateway.log`, 'utf8');

/** Ends everything. */
export function close() {
  for (const child of children.splice(0)) child.kill();
}
