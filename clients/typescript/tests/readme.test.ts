import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { configure } from '../src/index.js';
import { FakeSocket } from './support.js';

const ROOT = join(import.meta.dirname, '..');
const FOLDER = join(ROOT, 'node_modules/.snippets');
const PAGES = ['README.md', '../../docs/src/typescript.md'].map((page) => readFileSync(join(ROOT, page), 'utf8'));
const TEXT = PAGES.join('\n');
const SNIPPETS = [...TEXT.matchAll(/^```(ts|tsx|js)\n(.*?)^```$/gms)].map(([, kind = '', code = ''], at) => ({
  at,
  kind,
  code,
  first: /^import .*|^\/\/.*/m.exec(code)?.[0] ?? '',
}));
const OURS = {
  keymoat: './src/index.ts',
  'keymoat/react': './src/react.ts',
  'keymoat/google-genai': './src/google-genai.ts',
  'keymoat/eslint': './src/eslint.ts',
};
/** What stands in for other people's packages. */
const OTHERS = {
  ws: 'export default globalThis.WebSocket;',
  '@google/genai/web': `export class GoogleGenAI {
    constructor({ apiKey, httpOptions }) {
      const url = httpOptions.baseUrl.replace('http', 'ws') + '//ws/x?access_token=' + apiKey;
      this.live = { connect: async () => new WebSocket(url) };
    }
  }`,
};

beforeAll(() => {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  for (const [name, code] of Object.entries(OTHERS)) writeFileSync(other(name), code);
});
afterAll(() => rmSync(FOLDER, { recursive: true, force: true }));
beforeEach(() => {
  FakeSocket.made = [];
  vi.stubGlobal('WebSocket', FakeSocket);
  vi.stubGlobal('fetch', async (url: string) =>
    String(url).endsWith('/sse')
      ? new Response('data: 1\n\ndata: last\n\n', { headers: { 'content-type': 'text/event-stream' } })
      : Response.json({ value: 'kmt_shortlived', expires_in: 600 }),
  );
  vi.spyOn(console, 'log').mockImplementation(() => {});
  configure({ token: undefined, baseUrl: undefined });
});
const other = (name: string) => join(FOLDER, `${name.replace(/\W/g, '-')}.mjs`);

test('the README and the book have snippets, and say what they give', () => {
  expect(SNIPPETS.length).toBeGreaterThan(14);
  expect(TEXT.match(/\/\/ => /g)?.length).toBeGreaterThan(8);
});

test.each(SNIPPETS)('runs: $first', async ({ at, kind, code }) => {
  // `value; // => 1` becomes a check.
  const checked = code.replace(/^(.*); \/\/ => (.*)$/gm, 'globalThis.expectEqual($1, $2);');
  const outfile = join(FOLDER, `${at}.mjs`);
  await build({
    stdin: { contents: checked, resolveDir: ROOT, loader: kind as 'ts' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    jsx: 'automatic',
    external: ['react', 'react/jsx-runtime'],
    alias: { ...OURS, ...Object.fromEntries(Object.keys(OTHERS).map((name) => [name, other(name)])) },
    outfile,
    logLevel: 'silent',
  });
  const expectEqual = vi.fn((actual: unknown, expected: unknown) => expect(actual).toEqual(expected));
  vi.stubGlobal('expectEqual', expectEqual);
  await import(/* @vite-ignore */ pathToFileURL(outfile).href);
  expect(expectEqual).toHaveBeenCalledTimes(code.match(/\/\/ => /g)?.length ?? 0);
  for (const { url } of FakeSocket.made) expect(url).not.toMatch(/[?&](key|access_token)=|kmt_/);
  if (code.includes('carryTokensInSubprotocols')) expect(FakeSocket.last.credential).toBe('auth_tokens/kmt_shortlived');
});

// The compiler takes a while where other suites run beside it.
test('has the right types', { timeout: 60_000 }, () => {
  const paths = Object.fromEntries(Object.entries(OURS).map(([name, path]) => [name, [join(ROOT, path)]]));
  const config = {
    extends: join(ROOT, 'tsconfig.json'),
    compilerOptions: { paths, rootDir: ROOT, noUnusedLocals: false, exactOptionalPropertyTypes: false, types: [] },
    include: ['*.ts', '*.tsx'],
  };
  writeFileSync(join(FOLDER, 'tsconfig.json'), JSON.stringify(config));
  writeFileSync(
    join(FOLDER, 'ws.d.ts'),
    `declare module 'ws' {
      export default class { constructor(url: string, protocols?: string[], options?: { headers?: Record<string, string> }); url: string }
    }`,
  );
  for (const { at, kind, code } of SNIPPETS) {
    if (kind !== 'js') writeFileSync(join(FOLDER, `${at}.${kind}`), `${code}\nexport {};\n`);
  }
  const run = () =>
    execFileSync('node', [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', FOLDER], { encoding: 'utf8' });
  let output = '';
  try {
    run();
  } catch (error) {
    output = String((error as { stdout: string }).stdout);
  }
  expect(output).toBe('');
});
