import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { fake } from './tests/fake/server.ts';

const client = (file: string) => fileURLToPath(new URL(`../clients/typescript/src/${file}`, import.meta.url));

export default defineConfig(({ command, mode }) => ({
  // The sources of the client, so that nothing has to be built before the console is.
  resolve: {
    alias: [
      { find: /^keymoat$/, replacement: client('index.ts') },
      { find: /^keymoat\/react$/, replacement: client('react.ts') },
      { find: /^react$/, replacement: fileURLToPath(import.meta.resolve('preact/compat')) },
    ],
  },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    // A `data:` URL is no file that can be named in a policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  // `npm run dev -- --mode fake` shows every screen without a gateway.
  plugins: command === 'serve' && mode === 'fake' ? [fake()] : [],
  server: { proxy: mode === 'fake' ? {} : { '/api': 'http://127.0.0.1:8788', '/ws': 'ws://127.0.0.1:8788' } },
  test: { include: ['tests/*.test.{ts,tsx}'], environment: 'happy-dom', restoreMocks: true, unstubGlobals: true },
}));
