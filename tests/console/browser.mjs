// The browser, and what is watched in every page: errors, broken policy, requests to elsewhere.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const { SUITE_CHROMIUM } = process.env;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const WIDE = { width: 1280, height: 860 };
export const PHONE = { width: 390, height: 844 };
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'];

/** What went wrong in any page, in words. */
export const troubles = [];

export const browser = await chromium.launch({ executablePath: SUITE_CHROMIUM, chromiumSandbox: false, args: FLAGS });

/** A page of its own profile at `base`. */
export async function open(base, viewport = WIDE, options = {}) {
  const context = await browser.newContext({ viewport, baseURL: base, ...options });
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: new URL(base).origin });
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.on('pageerror', (error) => troubles.push(`${page.url()}: ${error.message}`));
  page.on('console', (message) => {
    // A refused request is the server's to tell, and the page shows it.
    if (message.type() !== 'error' || /status of (4\d\d)/.test(message.text())) return;
    troubles.push(`${page.url()}: ${message.text()}`);
  });
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol.startsWith('http') && origin !== new URL(base).origin) troubles.push(`it asks ${origin}`);
  });
  return page;
}

/** Goes to a screen and waits until it has loaded what it shows. */
export async function visit(page, path) {
  await page.goto(path);
  await settled(page);
}

/** Waits until nothing says that it loads. */
export async function settled(page) {
  await page.locator('h1').first().waitFor();
  await page.waitForFunction(() => !document.querySelector('.loading'));
  // The frame in which the last of it is drawn.
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
}

/** What axe finds in a page, in words; without what is only a matter of taste. */
export async function violations(page) {
  // Not by a script element, which the page's policy would refuse.
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    });
    return violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ target }) => target).join(' | ')}`);
  });
  return found.filter((words) => /^(serious|critical)/.test(words));
}

/** Fails if `secret` can be found anywhere in the page or in what it keeps. */
export async function assertGone(page, secret) {
  const kept = await page.evaluate(async () => {
    const inputs = [...document.querySelectorAll('input, textarea')].map(({ value }) => value);
    const stores = [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }), JSON.stringify(history.state)];
    const caches = 'caches' in window ? await window.caches.keys() : [];
    return [document.documentElement.outerHTML, location.href, document.title, document.cookie, ...inputs, ...stores, ...caches].join('\n');
  });
  assert.ok(!kept.includes(secret), `the secret is still in ${page.url()}`);
}
