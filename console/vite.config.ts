import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const client = (file: string) => fileURLToPath(new URL(`../clients/typescript/src/${file}`, import.meta.url));

const GATEWAY = 'http://127.0.0.1:8788';

export default defineConfig({
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
  // `npm run dev` beside `cargo xtask demo`: the admin listener answers to its own origin only.
  server: {
    proxy: {
      '/api': { target: GATEWAY, changeOrigin: true, headers: { origin: GATEWAY } },
      '/ws': { target: GATEWAY, changeOrigin: true, ws: true, headers: { origin: GATEWAY } },
    },
  },
  test: { include: ['tests/*.test.{ts,tsx}'], environment: 'happy-dom', restoreMocks: true, unstubGlobals: true },
});
