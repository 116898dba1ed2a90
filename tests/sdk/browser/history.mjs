// What a browser remembers of an address with a key in it that was refused.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const PAUSE_MS = 250;
const LIMIT_MS = 15_000;

/** Every link of a page, also in shadow roots. */
const links = (page) =>
  page.evaluate(() => {
    const found = [];
    const walk = (node) => {
      if (node.href) found.push(String(node.href));
      if (node.shadowRoot) walk(node.shadowRoot);
      node.childNodes.forEach(walk);
    };
    walk(document);
    return found;
  });

/** The addresses that Chromium finds in its history for a word, once it finds `expected` of them or a while has passed. */
async function found(page, word, expected) {
  let addresses = [];
  for (let waited = 0; waited < (expected ? LIMIT_MS : LIMIT_MS / 10); waited += PAUSE_MS) {
    await page.goto(`chrome://history/?q=${word}`);
    await new Promise((resume) => setTimeout(resume, PAUSE_MS));
    addresses = (await links(page)).filter((link) => link.startsWith('http://127.0.0.1:'));
    if (expected && addresses.length >= expected) break;
  }
  return addresses;
}

/** The checks on a tab of their own. `key` is compared, never shown. */
export const history = (browser, base, key) => ({
  'is led away from an address with a key, which neither the history nor the tab shows': async () => {
    const page = await browser.newPage();
    const start = base.replace(/\/$/, '');
    await page.goto(`${start}/keymoat/livez?before`);
    const answer = await page.goto(`${start}/api/events?limit=1&api_key=${key}`);
    assert.equal(answer.status(), 404);
    assert.equal(page.url(), `${start}/keymoat/why/credential_in_query#refused`);
    assert.match(await page.textContent('h1'), /long-lived key in the URL/);
    assert.equal(await page.evaluate(() => document.referrer), '', 'the page was told where it came from');
    await page.goto(`${start}/keymoat/livez?after`);
    const session = await browser.newCDPSession(page);
    const { entries } = await session.send('Page.getNavigationHistory');
    assert.ok(!entries.some(({ url }) => url.includes(key)), 'the tab leads back to the key');
    // The search finds where else it was, and so would find the one with the key.
    assert.ok((await found(page, 'livez', 1)).length >= 1, 'the history does not show where the browser was');
    for (const word of ['events', 'api_key', 'limit']) {
      assert.ok(!(await found(page, word, 0)).some((address) => address.includes('api_key')), 'the history shows the key');
    }
    await page.close();
  },
});

/** The files of the browser's cache that hold the key; after the browser has ended. */
export function cached(profile, key) {
  const files = readdirSync(join(profile, 'Default', 'Cache'), { recursive: true, withFileTypes: true });
  const read = files.filter((file) => file.isFile()).map((file) => readFileSync(join(file.parentPath ?? file.path, file.name)));
  assert.ok(read.length > 0, 'there is no cache to look at');
  return read.filter((bytes) => bytes.includes(key)).length;
}
