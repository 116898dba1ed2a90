// What the scripts of all JavaScript clients share: the keys, a place to note tokens, and a runner that prints each outcome.
//
// Prints `ok NAME` or `FAIL NAME: DETAIL` for every check. SUITE_KEY_FILE (the client's key), SUITE_WRONG_KEY and SUITE_TOKENS_FILE
// (where minted tokens are noted, to be searched for afterwards) come from the environment.
import { appendFileSync, readFileSync } from 'node:fs';

const { SUITE_KEY_FILE, SUITE_TOKENS_FILE } = process.env;
const LIMIT_MS = 20_000;

export const KEY = readFileSync(SUITE_KEY_FILE, 'utf8').trim();
/** Well-formed, but no gateway ever issued it. */
export const { SUITE_WRONG_KEY: WRONG_KEY } = process.env;

/** Notes a minted token, so that everything can be searched for it when all is over. */
export function note(token) {
  appendFileSync(SUITE_TOKENS_FILE, `${token}\n`);
  return token;
}

/** Runs every check, and says how many failed. */
export async function outcomes(checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error('nothing came in time')), LIMIT_MS)));
    try {
      await Promise.race([check(), late]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${name}: ${String(error?.message ?? error).replace(/\s+/g, ' ')}`);
    }
    clearTimeout(timer);
  }
  return failed;
}

/** Runs every check and ends the process, whatever a client keeps alive: a session that was refused may, in @google/genai 2.x. */
export async function run(checks) {
  process.exit((await outcomes(checks)) ? 1 : 0);
}
