// A React Native application's bundle, made by Metro as React Native configures it, and run without a page and without Node.
//
// Metro knows none of Node's modules: a bundle that wanted one would not be made.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createContext, runInContext } from 'node:vm';
import Metro from 'metro';
import { report } from './report.mjs';

const TOKEN = 'kmt_TestVector0TestVector0TestVector0TestVector13nLa6';
const here = import.meta.dirname;
const folder = mkdtempSync(join(here, 'node_modules/.metro-'));
const entry = join(folder, 'entry.js');
writeFileSync(
  entry,
  `
  import { buildWebSocketOptions, configure, createWebSocket } from 'keymoat';
  import { useEventStream } from 'keymoat/react';
  configure({ baseUrl: 'https://gateway.example', token: '${TOKEN}' });
  globalThis.made = buildWebSocketOptions('/ws/events');
  globalThis.socket = createWebSocket('/ws/events', { protocols: ['app'] });
  globalThis.hook = useEventStream;
`,
);

/** Bundles the entry for `platform`, and gives its code and the modules that are in it. */
async function bundle(platform) {
  const modules = [];
  const config = Metro.mergeConfig(await Metro.loadConfig({ cwd: here }), {
    projectRoot: here,
    watchFolders: [join(here, '../..')],
    cacheStores: [],
    maxWorkers: 1,
    reporter: { update() {} },
    resolver: {
      platforms: ['ios', 'android'],
      unstable_conditionNames: ['react-native'],
      resolverMainFields: ['react-native', 'browser', 'main'],
    },
    transformer: {
      getTransformOptions: async () => ({ transform: { experimentalImportSupport: true, inlineRequires: false } }),
    },
    serializer: { processModuleFilter: ({ path }) => modules.push(path) > 0 },
  });
  const out = join(folder, `${platform}.js`);
  await Metro.runBuild(config, { entry, platform, dev: false, minify: false, out });
  const code = readFileSync(out, 'utf8');
  return { code, modules };
}

/** Runs a bundle where there is nothing but what React Native has. */
async function run(code) {
  const opened = [];
  class WebSocket {
    constructor(...parameters) {
      opened.push(parameters);
    }
    close() {}
  }
  const context = createContext({
    WebSocket,
    navigator: { product: 'ReactNative' },
    btoa,
    AbortController,
    setTimeout,
    clearTimeout,
    console,
  });
  // React's development build asks for this.
  runInContext('globalThis.global = globalThis; globalThis.process = { env: { NODE_ENV: "production" } };', context);
  runInContext(code, context);
  await new Promise((resolve) => setTimeout(resolve, 50));
  context.socket.close();
  return { context, opened };
}

const checks = {};
for (const platform of ['ios', 'android']) {
  checks[`${platform}: takes what is made for React Native, and runs without Node`] = async () => {
    const { code, modules } = await bundle(platform);
    const ours = modules.filter((path) => path.includes('/keymoat/'));
    assert.ok(
      ours.some((path) => path.endsWith('/keymoat/dist/native/platform.js')),
      'no platform',
    );
    assert.deepEqual(
      ours.filter((path) => !path.includes('/keymoat/dist/native/')),
      [],
    );
    const { context, opened } = await run(code);
    const headers = { Authorization: `Bearer ${TOKEN}` };
    const plainly = (value) => JSON.parse(JSON.stringify(value));
    assert.deepEqual(plainly(context.made), { url: 'wss://gateway.example/ws/events', headers });
    assert.deepEqual(plainly(opened), [['wss://gateway.example/ws/events', ['app'], { headers }]]);
    assert.equal(typeof context.hook, 'function');
  };
}
await report('Metro', checks, () => rmSync(folder, { recursive: true, force: true }));
