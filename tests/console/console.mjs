// A person's way through the console, in headless Chromium, on the real binary.
//
// Prints `ok NAME` or `FAIL NAME: DETAIL` for every check. From the environment: SUITE_BINARY, SUITE_CHROMIUM, SUITE_FOLDER (a fresh one),
// SUITE_IMAGES (where the book's pictures are) and SUITE_TAKE_IMAGES=1 to take those anew.
import assert from 'node:assert/strict';
import * as browser from './browser.mjs';
import * as house from './house.mjs';
import { takeImages } from './images.mjs';
import { screens } from './screens.mjs';

const PASSWORD = 'a moat and seven drawbridges';
const EVIL = `<img src=x onerror="window.hurt=1">"'><script>window.hurt=1</script>`;
/** Every credential that the suite gets to know. */
const secrets = new Set([house.UPSTREAM_KEY, PASSWORD]);

let failed = 0;
async function check(name, act) {
  try {
    await act();
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    const detail = String(error?.message ?? error).replace(/\s+/g, ' ').slice(0, 600);
    console.log(`FAIL ${name}: ${detail}`);
    if (process.env.SUITE_DEBUG) await page.screenshot({ path: `${process.env.SUITE_DEBUG}/${failed}.png`, fullPage: true });
  }
}

const { gateway, admin } = await house.open();
const data = gateway.replace(/\/$/, '');
const base = admin.replace(/\/$/, '');
const page = await browser.open(base);
/** Asks through the gateway, as a client that has moved or one that has not. */
const ask = (path, headers = {}) => fetch(data + path, { headers, redirect: 'manual' });
const byHeader = (secret) => ask('/api/events?limit=1', { 'x-api-key': secret, 'user-agent': 'python-requests/2.32' });
const byUrl = (secret, agent = 'python-websockets/12.0') =>
  ask(`/api/events?limit=1&api_key=${secret}`, { 'user-agent': agent });
/** What is shown once in the page now. */
async function shownOnce() {
  await page.getByRole('button', { name: 'Show it' }).click();
  const secret = (await page.locator('.secret-once output').textContent()).trim();
  assert.ok(secret.length > 20, `shown: ${secret.length} characters`);
  secrets.add(secret);
  return secret;
}
/** Asks until the status is `wanted`: what is made or revoked reaches the gateway within a second. */
async function until(wanted, act) {
  const end = Date.now() + 2500;
  let status;
  do status = (await act()).status;
  while (status !== wanted && Date.now() < end);
  assert.equal(status, wanted);
}
/** What is listed, as soon as there is something. */
async function untilListed(list) {
  const end = Date.now() + 2500;
  let found;
  do found = await list();
  while (found.items?.length === 0 && Date.now() < end);
  assert.ok(found.items?.length > 0, JSON.stringify(found));
  return found;
}
const row = (text) => page.getByRole('row').filter({ hasText: text });
const dialog = page.getByRole('dialog');

const made = {};

await check('the claim link is taken out of the address bar and makes the first admin', async () => {
  const link = (await house.command('admin', 'claim', '--config', 'keymoat.toml')).split('\n').find((line) => line.startsWith('http'));
  secrets.add(new URL(link).hash.slice('#claim='.length));
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await page.goto(link);
  await page.getByRole('heading', { name: 'Claim this Keymoat' }).waitFor();
  assert.equal(new URL(page.url()).hash, '');
  await browser.assertGone(page, new URL(link).hash.slice('#claim='.length));
  await page.getByLabel('Name').fill('ada');
  await page.getByLabel('Password', { exact: true }).fill('short');
  await page.getByText('It is shorter than').waitFor();
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('Password again').fill(PASSWORD);
  await page.getByRole('button', { name: 'Claim' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  assert.ok(!asked.some((url) => url.includes('kma_')), 'a URL held the claim');
});

await check('the session is a cookie that no script reads', async () => {
  const cookies = await page.context().cookies();
  assert.equal(cookies.length, 1);
  assert.ok(cookies[0].httpOnly && cookies[0].sameSite === 'Strict', JSON.stringify(Object.keys(cookies[0])));
  secrets.add(cookies[0].value);
});

await check('signing out and in again, with a wrong password told as such', async () => {
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in to Keymoat' }).waitFor();
  await page.getByLabel('Name').fill('ada');
  await page.getByLabel('Password').fill('not the password at all');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
});

await check('a key is made and shown once', async () => {
  await browser.visit(page, '/keys');
  await page.getByRole('link', { name: 'Create a key' }).first().click();
  await page.getByLabel('Name').fill('old-client');
  await page.getByLabel('Owner').fill('Payments, ada@example.org');
  await page.getByRole('button', { name: 'Create' }).click();
  await page.locator('.secret-once').waitFor();
  await browser.assertGone(page, 'km_');
  made.secret = await shownOnce();
  for (const tab of ['Browser', 'React Native', 'Python', 'curl']) {
    await page.getByRole('tab', { name: tab }).click();
    const text = await page.getByRole('tabpanel').textContent();
    assert.ok(text.includes('/') && !/[?&](api_?key|key|token)=/i.test(text), `${tab}: ${text}`);
  }
  await page.getByRole('link', { name: 'Go to the key' }).click();
  await page.getByRole('heading', { name: 'old-client' }).waitFor();
  made.key = new URL(page.url()).pathname.split('/').at(-1);
});

await check('a key has an owner, and shows what it begins with and nothing more of its text', async () => {
  await page.getByText('Payments, ada@example.org').waitFor();
  await page.getByRole('button', { name: 'Change the owner' }).click();
  await dialog.getByLabel('Owner').fill(made.secret);
  await dialog.getByRole('button', { name: 'Change', exact: true }).click();
  await dialog.getByRole('alert').waitFor();
  assert.ok(!(await dialog.getByRole('alert').textContent()).includes(made.secret.slice(3)));
  await dialog.getByLabel('Owner').fill('Billing');
  await dialog.getByRole('button', { name: 'Change', exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
  await page.locator('dd').filter({ hasText: 'Billing' }).waitFor();
  await browser.visit(page, '/keys?text=billing');
  await row('old-client').getByText('km_…').waitFor();
  await row('old-client').getByText('Billing').waitFor();
  await browser.assertGone(page, made.secret.slice(3));
});

await check('the new key is gone when the screen is left, also for the way back', async () => {
  await browser.assertGone(page, made.secret);
  await page.goBack();
  await browser.settled(page);
  await browser.assertGone(page, made.secret);
});

await check('a request is seen when it arrives, its credential as a chip', async () => {
  await browser.visit(page, '/traffic');
  await page.getByText('Live', { exact: true }).waitFor();
  await until(200, () => byHeader(made.secret));
  const line = page.locator('.stream > li').filter({ hasText: 'header x-api-key' });
  await line.first().waitFor();
  await line.first().getByText('allowed').waitFor();
  await line.first().locator('.chip.credential').waitFor();
  assert.equal((await byUrl(made.secret)).status, 200);
  await page.locator('.stream > li').filter({ hasText: 'URL query ?api_key' }).first().waitFor();
  assert.equal((await byUrl('km_TestVector0TestVector0TestVector0TestVector02cu8n')).status, 401);
  await page.locator('.stream > li').filter({ hasText: 'refused' }).first().waitFor();
  await browser.assertGone(page, made.secret);
});

await check('a session tells which protocols were offered and chosen, its origin, and why it closed', async () => {
  const more = ['--protocol', 'graphql-ws', '--origin', 'https://app.example'];
  const client = house.listen(`${data.replace(/^http/, 'ws')}/ws/events`, made.secret, 'subprotocol', { more });
  const { items } = await untilListed(async () => page.evaluate(() => fetch('/api/v1/sessions').then((answer) => answer.json())));
  const end = { method: 'POST', headers: { 'x-keymoat-request': 'console', 'content-type': 'application/json' }, body: '{"reason":"lunch"}' };
  await page.evaluate(([id, end]) => fetch(`/api/v1/sessions/${id}/end`, end), [items[0].id, end]);
  await client.closed;
  const line = page.locator('.stream > li').filter({ hasText: '/ws/events' }).first();
  for (const text of ['api-key.•', 'graphql-ws', 'https://app.example', 'lunch']) await line.getByText(text).first().waitFor();
  await line.locator('.chip.good').filter({ hasText: 'graphql-ws' }).waitFor();
  await browser.assertGone(page, made.secret);
});

await check('paused it stands still, and filtered it shows what matches', async () => {
  await page.getByRole('button', { name: 'Pause' }).click();
  const before = await page.locator('.stream > li').count();
  await byHeader(made.secret);
  await page.getByRole('button', { name: /Go on \(\d+ new\)/ }).waitFor();
  assert.equal(await page.locator('.stream > li').count(), before);
  await page.getByRole('button', { name: /Go on/ }).click();
  await page.getByLabel('Credential in').selectOption('query');
  assert.ok(new URL(page.url()).search.includes('carrier=query'));
  await page.waitForFunction(() => {
    const lines = [...document.querySelectorAll('.stream > li')];
    return lines.length > 0 && lines.every((line) => line.textContent.includes('URL query'));
  });
});

await check('a second secret works beside the old one, whose traffic is counted', async () => {
  await browser.visit(page, `/keys/${made.key}`);
  await page.getByRole('button', { name: 'Rotate' }).click();
  await dialog.getByLabel('The old secret works').selectOption('3600');
  await dialog.getByRole('button', { name: 'Rotate' }).click();
  made.second = await shownOnce();
  assert.notEqual(made.second, made.secret);
  await until(200, () => byHeader(made.second));
  assert.equal((await byHeader(made.secret)).status, 200);
  await page.getByRole('button', { name: 'I have it' }).click();
  await page.reload();
  await browser.settled(page);
  const secrets = page.getByRole('table', { name: 'Secrets of this key' }).getByRole('row');
  assert.equal(await secrets.count(), 3);
  await page.getByText('being rotated').first().waitFor();
  await browser.assertGone(page, made.second);
});

await check('a token is minted, and its session is seen and ended', async () => {
  await browser.visit(page, '/tokens');
  await page.getByRole('button', { name: 'Mint a token' }).click();
  await page.getByLabel('Uses').fill('2');
  await page.getByRole('button', { name: 'Mint', exact: true }).click();
  await page.locator('.secret-once').waitFor();
  made.token = await shownOnce();
  await page.getByRole('button', { name: 'I have it' }).click();
  await browser.assertGone(page, made.token);
  const client = house.listen(`${data.replace(/^http/, 'ws')}/ws/events`, made.token, 'subprotocol');
  await browser.visit(page, '/sessions');
  await row('events').first().waitFor();
  await page.getByRole('button', { name: /^End the session/ }).first().click();
  const start = Date.now();
  await dialog.getByRole('button', { name: 'End it' }).click();
  const printed = await client.closed;
  const took = Date.now() - start;
  assert.ok(took < 2500, `closed after ${took} ms`);
  assert.match(printed, /"code":\s*\d{4}/, printed.slice(0, 300));
  await page.getByText('Nothing is connected').waitFor();
});

await check('a live session shows what was asked for beside what its lock made of it', async () => {
  const canary = 'km_TestVector0TestVector0TestVector0TestVector02cu8n';
  const setup = { model: 'models/gemini-2.5-flash-native-audio', systemInstruction: { parts: [{ text: 'You are a lamp.' }] } };
  const body = JSON.stringify({ key_id: made.key, uses: 5, constraints: { gemini: { setup, field_mask: 'model,systemInstruction' } } });
  const order = { method: 'POST', headers: { 'x-keymoat-request': 'console', 'content-type': 'application/json' }, body };
  const { token, ...refused } = await page.evaluate((order) => fetch('/api/v1/tokens', order).then((answer) => answer.json()), order);
  assert.ok(token, JSON.stringify(refused));
  secrets.add(token);
  const path = '/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained';
  const asked = { ...setup, systemInstruction: { parts: [{ text: `You are mine. ${canary}` }] } };
  const client = house.listen(data.replace(/^http/, 'ws') + path, token, 'token', { first: JSON.stringify({ setup: asked }) });
  await browser.visit(page, '/sessions');
  await row('gemini').first().waitFor();
  await page.getByRole('button', { name: /^Setup of the session/ }).first().click();
  await dialog.getByRole('region', { name: 'The client asked for' }).getByText('You are mine.').waitFor();
  const effective = await dialog.getByRole('region', { name: 'In effect upstream' }).textContent();
  assert.ok(effective.includes('You are a lamp.') && !effective.includes('You are mine.'), effective);
  await browser.assertGone(page, canary);
  assert.deepEqual(await browser.violations(page), []);
  if (process.env.SUITE_DEBUG) await page.screenshot({ path: `${process.env.SUITE_DEBUG}/setup-wide-light.png` });
  await dialog.getByRole('button', { name: 'Close' }).click();
  client.end();
});

await check('the chart shows by what credentials came, as a picture and as a table', async () => {
  await browser.visit(page, '/');
  const chart = page.getByRole('figure', { name: 'Requests a day by carrier' });
  assert.ok((await chart.locator('rect.series-query').count()) > 0 && (await chart.locator('rect.series-header').count()) > 0);
  await chart.getByRole('button', { name: 'Show as table' }).click();
  assert.equal(await chart.getByRole('row').count(), 31);
});

await check('the dry run tells what enforcing would refuse', async () => {
  await byUrl(made.second);
  await browser.visit(page, '/');
  await page.getByRole('table', { name: 'Keys that still come by URL' }).getByText('old-client').first().waitFor();
  await row('would have refused').filter({ hasText: '1 key' }).first().waitFor();
  await page.getByText('The fix').first().click();
  await page.locator('.fix[open] pre').filter({ hasText: 'X-API-Key' }).first().waitFor();
});

await check('enforced, the old client is refused and the one that has moved is not', async () => {
  await page.getByRole('button', { name: 'Enforce on events' }).click();
  await dialog.getByText('Somebody will notice').waitFor();
  await dialog.getByRole('button', { name: 'Enforce' }).click();
  await dialog.waitFor({ state: 'hidden' });
  await until(401, () => byUrl(made.second));
  assert.equal((await byHeader(made.second)).status, 200);
  await page.getByRole('row').filter({ hasText: 'events' }).getByText('enforced').first().waitFor();
});

await check('a route shows its override as the line that makes it permanent, and takes it back', async () => {
  await browser.visit(page, '/routes/events');
  await page.locator('.snippet').filter({ hasText: '[route.events]' }).first().waitFor();
  await page.getByRole('button', { name: 'Remove the override' }).click();
  await page.getByText('in step').waitFor();
});

await check('the node that answers is seen', async () => {
  await browser.visit(page, '/routes');
  const nodes = page.getByRole('table', { name: 'Nodes' });
  await nodes.getByText('(this one)').waitFor();
  await nodes.getByText('ready', { exact: true }).waitFor();
});

await check('an upstream is tested by a button', async () => {
  await browser.visit(page, '/upstreams/events');
  await page.getByRole('button', { name: 'Test', exact: true }).click();
  await page.locator('.notice').filter({ hasText: /It answers|It does not work/ }).waitFor();
});

await check('keys are imported, and revoked by typing their name', async () => {
  await browser.visit(page, '/keys/import');
  const imported = 'legacy-key-of-a-client-7f3k9q2m5x8z';
  secrets.add(imported);
  await page.getByLabel('Keys', { exact: true }).fill(`legacy-app=${imported}`);
  await page.getByRole('button', { name: 'Import' }).click();
  await page.getByRole('link', { name: 'legacy-app' }).waitFor();
  await browser.assertGone(page, imported);
  await until(200, () => byHeader(imported));
  await page.getByRole('link', { name: 'legacy-app' }).click();
  await page.getByRole('button', { name: 'Revoke' }).click();
  const confirm = dialog.getByRole('button', { name: 'Revoke for good' });
  assert.ok(await confirm.isDisabled());
  await dialog.getByLabel('Type legacy-app').fill('legacy-app');
  await confirm.click();
  await page.getByText('revoked').first().waitFor();
  await until(401, () => byHeader(imported));
});

await check('a line is redacted, with the rule that hit', async () => {
  await browser.visit(page, '/redaction');
  await page.getByLabel('Log lines').fill(`GET /api/events?api_key=${made.second} HTTP/1.1`);
  await page.getByRole('button', { name: 'Redact' }).click();
  await page.getByText('Rules that hit').waitFor();
  assert.ok(!(await page.locator('pre.redacted').textContent()).includes(made.second));
});

await check('the audit tells who did what', async () => {
  await browser.visit(page, '/audit');
  for (const act of ['claimed this Keymoat', 'made a key', 'rotated a key', 'minted a token', 'ended a session', 'enforced']) {
    await page.getByText(act).first().waitFor({ timeout: 5000 });
  }
});

await check('an admin key is made and shown once', async () => {
  await browser.visit(page, '/people');
  await page.getByLabel('Who').selectOption('key');
  await page.getByLabel('Name').fill('grafana');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await page.locator('.secret-once').waitFor();
  const secret = await shownOnce();
  await page.getByRole('button', { name: 'I have it' }).click();
  await browser.assertGone(page, secret);
  await row('grafana').getByText('viewer').waitFor();
});

await check('no name, user agent or model becomes code', async () => {
  await browser.visit(page, '/keys/new');
  await page.getByLabel('Name').fill(EVIL);
  await page.getByRole('button', { name: 'Create' }).click();
  await page.locator('.secret-once').waitFor();
  const secret = await shownOnce();
  await until(200, () => byHeader(secret));
  await byUrl(secret, EVIL);
  await ask(`/api/${encodeURIComponent(EVIL)}`, { 'x-api-key': secret, 'user-agent': EVIL });
  await ask(`/v1beta/models/${encodeURIComponent(EVIL)}:generateContent`, { 'x-goog-api-key': secret, 'user-agent': EVIL });
  const client = house.listen(`${data.replace(/^http/, 'ws')}/ws/events`, secret, 'header:x-api-key');
  await page.getByRole('link', { name: 'Go to the key' }).click();
  await browser.settled(page);
  made.evil = new URL(page.url()).pathname.split('/').at(-1);
  let seen = 0;
  for (const path of Object.values(screens({ key: made.evil, route: 'events', upstream: 'events' }))) {
    await browser.visit(page, path);
    seen += (await page.getByText('<img src=x').count()) > 0 ? 1 : 0;
    assert.equal(await page.evaluate(() => window.hurt), undefined, path);
    assert.equal(await page.locator('img[src="x"]').count(), 0, path);
  }
  client.end();
  assert.ok(seen >= 3, `it was shown as text on ${seen} screens only`);
});

const all = screens({ key: made.key, route: 'events', upstream: 'events' });
const pages = [];
for (const [look, viewport] of [['wide', browser.WIDE], ['phone', browser.PHONE]]) {
  for (const colorScheme of ['light', 'dark']) {
    const storageState = await page.context().storageState();
    const other = await browser.open(base, viewport, { colorScheme, storageState, hasTouch: look === 'phone' });
    pages.push(other);
    await check(`axe finds nothing serious, and nothing is cut off: ${look}, ${colorScheme}`, async () => {
      const found = [];
      for (const [name, path] of Object.entries(all)) {
        await browser.visit(other, path);
        const { SUITE_DEBUG } = process.env;
        if (SUITE_DEBUG) await other.screenshot({ path: `${SUITE_DEBUG}/${name}-${look}-${colorScheme}.png`, fullPage: true });
        for (const said of await other.getByRole('alert').allTextContents()) found.push(`${path} says ${said}`);
        found.push(...(await browser.violations(other)).map((words) => `${path} ${words}`));
        const over = await other.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (over > 0) found.push(`${path} is ${over} px too wide`);
      }
      assert.deepEqual(found, []);
    });
  }
}

await check('the keyboard alone is enough', async () => {
  await browser.visit(page, '/keys');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'Skip to the content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.tagName), 'H1');
  await browser.visit(page, `/keys/${made.key}`);
  const button = page.getByRole('button', { name: 'Revoke' });
  await button.focus();
  await page.keyboard.press('Enter');
  await dialog.waitFor();
  assert.ok(await page.evaluate(() => document.querySelector('dialog').contains(document.activeElement)));
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'Revoke');
});

await check('a narrow screen has a menu', async () => {
  const phone = pages.at(-1);
  await browser.visit(phone, '/');
  assert.ok(!(await phone.getByRole('link', { name: 'Live traffic' }).isVisible()));
  await phone.getByRole('button', { name: 'Menu' }).click();
  await phone.getByRole('link', { name: 'Live traffic' }).click();
  await phone.getByRole('heading', { name: 'Live traffic' }).waitFor();
  assert.ok(!(await phone.getByRole('link', { name: 'Overview' }).isVisible()));
});

await check('a theme that was chosen stays', async () => {
  await browser.visit(page, '/');
  await page.getByLabel('Theme').selectOption('dark');
  await page.reload();
  await browser.settled(page);
  assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), 'dark');
  await page.getByLabel('Theme').selectOption('system');
});

await check('the page is not kept, its files are, and the policy has no hole', async () => {
  const response = await fetch(`${base}/keys`);
  const policy = response.headers.get('content-security-policy');
  assert.equal(response.headers.get('cache-control'), 'no-store');
  assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/);
  assert.doesNotMatch(policy, /unsafe|\*|https?:/);
  const [asset] = /\/assets\/[^"]+\.js/.exec(await response.text());
  assert.match((await fetch(base + asset)).headers.get('cache-control'), /immutable/);
});

await check('a page of another origin gets nothing done', async () => {
  const headers = { origin: 'http://evil.example', 'content-type': 'application/json' };
  const response = await fetch(`${base}/api/v1/keys`, { method: 'POST', headers, body: '{"name":"x"}' });
  assert.equal(response.status, 403);
});

await check('whoever only looks has no buttons that change something', async () => {
  await browser.visit(page, '/people');
  await page.getByLabel('Who').selectOption('person');
  await page.getByLabel('Name').fill('vera');
  await page.getByLabel('First password').fill('looking is all she does');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await row('vera').waitFor();
  const other = await browser.open(base);
  await other.goto('/');
  await other.getByLabel('Name').fill('vera');
  await other.getByLabel('Password').fill('looking is all she does');
  await other.getByRole('button', { name: 'Sign in' }).click();
  await other.getByRole('heading', { name: 'Overview' }).waitFor();
  for (const path of Object.values(all)) {
    if (path === '/people') continue;
    await browser.visit(other, path);
    const changing = other.getByRole('button', { name: /^(Enforce|Rotate|Revoke|End the|Mint|Override|Seal|Test$|Import$|Create$)/ });
    if (!['/keys/new', '/keys/import'].includes(path)) assert.equal(await changing.count(), 0, path);
  }
});

await check('no error in any page, and nothing was asked of another server', () => {
  assert.deepEqual(browser.troubles, []);
});

await check('no credential in the log of the gateway', () => {
  const log = house.log();
  for (const secret of secrets) assert.ok(!log.includes(secret), `a credential of ${secret.length} characters`);
});

house.close();
if (process.env.SUITE_FILL) await check('pictures for the book', takeImages);
await browser.browser.close();
process.exit(failed === 0 ? 0 : 1);
