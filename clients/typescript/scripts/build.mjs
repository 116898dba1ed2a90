// Builds `dist`: what everybody gets in `default`, and the same for React Native in `native`.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [dist, native] = [join(root, 'dist/default'), join(root, 'dist/native')];
/** What nobody needs on a phone. */
const SKIPPED = /^(eslint|google-genai|platform)\./;

rmSync(join(root, 'dist'), { recursive: true, force: true });
execFileSync('tsc', ['-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}` },
});
mkdirSync(native);
for (const file of readdirSync(dist)) {
  if (!SKIPPED.test(file)) copyFileSync(join(dist, file), join(native, file));
}
for (const extension of ['js', 'd.ts']) {
  const own = join(dist, `platform.native.${extension}`);
  copyFileSync(own, join(native, `platform.${extension}`));
  rmSync(own);
}
for (const license of ['LICENSE-APACHE', 'LICENSE-MIT']) {
  copyFileSync(join(root, '../..', license), join(root, 'dist', license));
}
