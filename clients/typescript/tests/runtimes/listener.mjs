// The admin listener of the real binary, started for one script, in a folder of its own; and a way to it that can be cut.
//
// From the environment: SUITE_BINARY, SUITE_FOLDER (a fresh one), SUITE_SECRETS_FILE (where each credential is noted, so that nobody prints it).

import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

const { SUITE_BINARY, SUITE_FOLDER, SUITE_SECRETS_FILE } = process.env;
const READY_MS = 30_000;
/** So few that what is older is forgotten while the suite waits. */
export const KEPT = 30;
const CONFIGURATION = `
[admin]
listen = "127.0.0.1:0"
[events]
keep_max = ${KEPT}
# Nobody asks it, but there has to be something to serve.
[upstream.nobody]
url = "http://127.0.0.1:9"
secret = "\${file:upstream.key}"
[route.nobody]
upstream = "nobody"
paths = ["/nobody/*"]
`;

/** Starts it, and gives where it is, an operator's key, a viewer with a password, and what can be done to it. */
export async function open(name) {
  const folder = join(SUITE_FOLDER, `admin-${name.toLowerCase().replaceAll(' ', '-')}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'keymoat.toml'), CONFIGURATION);
  writeFileSync(join(folder, 'upstream.key'), 'a-made-up-key-of-nobody', { mode: 0o600 });
  const secrets = [];
  /** Remembers a credential, to look for it. */
  const note = (secret) => {
    secrets.push(secret);
    appendFileSync(SUITE_SECRETS_FILE, `${secret}\n`, { mode: 0o600 });
    return secret;
  };
  const run = (words, input) => {
    const given = { cwd: folder, input, stdio: ['pipe', 'pipe', 'pipe'], encoding: 'utf8' };
    return execFileSync(SUITE_BINARY, [...words, '--config', 'keymoat.toml'], given).trim();
  };
  const key = note(run(['admin', 'create', 'suite', '--role', 'operator']));
  const password = note('a moat and seven drawbridges');
  run(['admin', 'create', 'ada', '--role', 'viewer', '--password-file', '-'], password);

  const child = spawn(SUITE_BINARY, ['serve', '--json', '--listen', '127.0.0.1:0', '--config', 'keymoat.toml'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (printed += text));
  const ended = new Promise((resolve) => child.on('close', resolve));
  const ready = () => /^{"gateway":.*}$/m.exec(printed)?.[0];
  for (const end = Date.now() + READY_MS; ready() === undefined;) {
    if (Date.now() > end) throw new Error(`it is not ready: ${printed}`);
    await new Promise((later) => setTimeout(later, 20));
  }
  const base = JSON.parse(ready()).admin.replace(/\/$/, '');

  /** Asks the API with the key, and gives the answer's JSON. */
  const ask = async (method, path, body) => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
    const answer = await fetch(`${base}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path} is answered with ${answer.status}`);
    return answer.json();
  };
  /** Waits until the store has an event that `is` this one, so that what comes behind it has a later number. */
  const stored = async (is) => {
    while (!(await ask('GET', '/events?limit=10')).items.some(is)) await new Promise((later) => setTimeout(later, 20));
  };
  await stored(({ type }) => type === 'keymoat.started');
  let count = 0;
  return {
    base,
    key,
    person: { name: 'ada', password },
    note,
    ask,
    /** Makes so many keys: each is an event `key.created`. */
    makeKeys: async (number = 1) => {
      let id;
      for (let at = 0; at < number; at++) {
        const made = await ask('POST', '/keys', { name: `key-${++count}` });
        note(made.secret);
        id = (made.key ?? made).id;
      }
      await stored(({ type, target }) => type === 'key.created' && target === id);
    },
    /** Waits until the store has forgotten everything up to the number `seq`. */
    forgets: async (seq) => {
      for (;;) {
        const { items } = await ask('GET', `/events?limit=${2 * KEPT}`);
        if (items.at(-1).seq > seq) return;
        await new Promise((later) => setTimeout(later, 250));
      }
    },
    /** Ends it, and gives where a credential stands in what it printed or kept. */
    end: async () => {
      child.kill();
      await ended;
      const files = readdirSync(folder, { recursive: true }).map((file) => join(folder, String(file)));
      const kept = files.filter((file) => statSync(file).isFile()).map((file) => [file, readFileSync(file, 'latin1')]);
      const spellings = secrets.flatMap((secret) => [secret, Buffer.from(secret).toString('base64url')]);
      const holds = ([, text]) => spellings.some((spelling) => text.includes(spelling.slice(0, 24)));
      return [['its output', printed], ...kept].filter(holds).map(([place]) => place);
    },
  };
}

/** A way to `base` that can be cut, and mended; `pages` are those that it serves itself, at the same origin, by their paths. */
export async function wayTo(base, pages = {}) {
  const { hostname, port } = new URL(base);
  const ends = new Set();
  let isCut = false;
  const server = createServer((client) => {
    if (isCut) return client.destroy();
    client.on('error', () => {});
    client.once('data', (head) => {
      const page = pages[/^GET (\S+) /.exec(head.toString('latin1'))?.[1]];
      if (!page) return goOn(client, head);
      const { type, body } = page;
      const length = Buffer.byteLength(body);
      client.end(
        `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n${body}`,
      );
    });
  });
  const goOn = (client, head) => {
    const behind = connect(Number(port), hostname);
    for (const [end, other] of [
      [client, behind],
      [behind, client],
    ]) {
      ends.add(end);
      end
        .on('error', () => {})
        .on('close', () => {
          ends.delete(end);
          other.destroy();
        });
      end.pipe(other);
    }
    behind.write(head);
  };
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    base: `http://127.0.0.1:${server.address().port}`,
    cut: () => {
      isCut = true;
      for (const end of ends) end.destroy();
    },
    mend: () => {
      isCut = false;
    },
    close: () => {
      for (const end of ends) end.destroy();
      server.close();
    },
  };
}
