// Runs checks one after the other, each with a limit, and prints `ok NAME` or `FAIL NAME: DETAIL` for each.

const LIMIT_MS = 30_000;

/** Runs `checks`, with `place` before every name, and ends the process. */
export async function report(place, checks, end = () => {}) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('nothing came in time')), LIMIT_MS);
    });
    try {
      await Promise.race([check(), late]);
      console.log(`ok ${place}: ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${place}: ${name}: ${String(error?.stack ?? error).replace(/\s+/g, ' ')}`);
    }
    clearTimeout(timer);
  }
  await end();
  process.exit(failed ? 1 : 0);
}
