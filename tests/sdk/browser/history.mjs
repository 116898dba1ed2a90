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

/** The history as Chromium shows it, once it has the address `marker`. */
async function shown(page, marker) {
  for (let waited = 0; waited < LIMIT_MS; waited += PAUSE_MS) {
    await page.goto('chrome://history');
    await new Promise((resume) => setTimeout(resume, PAUSE_MS));
    const found = await links(page);
    if (found.some((link) => link.startsWith(marker))) return found;
  }
  throw new Error('the history does not show where the browser was');
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
    const found = await shown(page, `${start}/keymoat/livez?after`);
    assert.ok(!found.some((link) => link.includes(key)), 'the history shows the key');
    // The search can find: an address with something harmless in it is there.
    assert.ok(found.some((link) => link.startsWith(`${start}/keymoat/livez?before`)));
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
