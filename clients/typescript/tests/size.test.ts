import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

/** What `names` cost a page, gzipped, when its bundler leaves out the rest. */
async function bytesOf(names: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents: `export ${names} from './src/index.js'`, resolveDir: `${import.meta.dirname}/..`, loader: 'ts' },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    write: false,
  });
  return gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).length;
}

const CORE = 'configure, buildWebSocketOptions, buildHeaders, TokenSource';

test.each([
  [`{ ${CORE} }`, 4096],
  ['{ configure, buildWebSocketOptions }', 3072],
  [`{ ${CORE}, createWebSocket }`, 5427],
  ['*', 7372],
])('%s is smaller than %i bytes', async (names, limit) => {
  const bytes = await bytesOf(names);
  console.info(`${bytes} bytes gzipped: ${names}`);
  expect(bytes).toBeGreaterThan(1000);
  expect(bytes).toBeLessThan(limit);
});

test('nothing runs when it is imported, so that a bundler may drop all of it', async () => {
  const { outputFiles } = await build({
    stdin: { contents: "import './src/index.js'", resolveDir: `${import.meta.dirname}/..`, loader: 'ts' },
    bundle: true,
    minify: true,
    format: 'esm',
    write: false,
    // What `package.json` says about side effects is what is to be proven here.
    ignoreAnnotations: true,
  });
  expect(outputFiles[0]?.text.trim()).toBe('');
});
