// The book's pictures: the console of a gateway that has been in use for a month. From the environment: SUITE_FILL (the example `fill` of
// keymoat-store) and SUITE_IMAGES (where the pictures go).
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { promisify } from 'node:util';
import * as browser from './browser.mjs';
import * as house from './house.mjs';
import { screens, SHOWN } from './screens.mjs';

const { SUITE_FILL, SUITE_IMAGES } = process.env;
const [KEYS, EVENTS] = ['12', '60000'];
const PASSWORD = 'a moat and seven drawbridges';
/** What the stand-in's filler gives its first keys. */
const SECRET = 'measured-key-number-';

/** Fills a store, goes through the door, and takes every picture. */
export async function takeImages() {
  const { gateway, admin } = await house.open('pictures', async () => {
    await promisify(execFile)(SUITE_FILL, [`${house.folder}/.keymoat`, KEYS, EVENTS]);
  });
  const [data, base] = [gateway, admin].map((url) => url.replace(/\/$/, ''));
  const link = (await house.command('admin', 'claim', '--config', 'keymoat.toml')).split('\n').find((line) => line.startsWith('http'));
  const page = await browser.open(base);
  await page.goto(link);
  await page.getByLabel('Name').fill('ada');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('Password again').fill(PASSWORD);
  await page.getByRole('button', { name: 'Claim' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await browser.visit(page, '/keys');
  await page.getByRole('link', { name: 'voice-app' }).first().click();
  await page.getByRole('button', { name: 'Rotate' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Rotate' }).click();
  await page.getByRole('button', { name: 'I have it' }).click();
  const key = new URL(page.url()).pathname.split('/').at(-1);
  for (const number of [1, 2, 3]) {
    house.listen(`${data.replace(/^http/, 'ws')}/ws/events`, SECRET + number, 'header:x-api-key');
  }
  mkdirSync(SUITE_IMAGES, { recursive: true });
  const storageState = await page.context().storageState();
  for (const [name, look, colorScheme] of SHOWN) {
    const viewport = look === 'phone' ? browser.PHONE : { ...browser.WIDE, height: 740 };
    const other = await browser.open(base, viewport, { colorScheme, storageState, hasTouch: look === 'phone' });
    await browser.visit(other, screens({ key, route: 'events', upstream: 'events' })[name]);
    if (name === 'traffic') await talk(data, other);
    await other.screenshot({ path: `${SUITE_IMAGES}/console-${name}-${look}-${colorScheme}.png` });
  }
  house.close();
}

/** Some requests of different clients, and waits until the page shows them. */
async function talk(data, page) {
  await page.getByText('Live', { exact: true }).waitFor();
  const ask = (path, headers = {}) => fetch(data + path, { headers });
  for (let number = 0; number < 7; number++) {
    await ask('/api/events?limit=1', { 'x-api-key': SECRET + number });
    if (number % 3 === 0) await ask(`/api/events?limit=1&api_key=${SECRET}${number}`);
  }
  await ask('/api/events?api_key=km_TestVector0TestVector0TestVector0TestVector02cu8n');
  await ask('/api/events');
  await page.locator('.stream > li').nth(10).waitFor();
}
