// Packs the package as it would be published, and unpacks it where the scripts beside this one find it.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const here = import.meta.dirname;
const installed = join(here, 'node_modules/keymoat');
const temporary = mkdtempSync(join(tmpdir(), 'keymoat-pack-'));
try {
  const root = join(here, '../..');
  const printed = execFileSync('npm', ['pack', '--json', '--loglevel=error', '--pack-destination', temporary], {
    cwd: root,
  });
  // What `prepack` prints stands before the list.
  const [{ filename, files }] = JSON.parse(String(printed).slice(String(printed).indexOf('[\n')));
  const strange = files.map(({ path }) => path).filter((path) => !/^(package\.json|README\.md|dist\/.+)$/.test(path));
  if (strange.length > 0) throw new Error(`the package has files that nobody needs: ${strange.join(', ')}`);
  rmSync(installed, { recursive: true, force: true });
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', join(temporary, filename), '-C', installed, '--strip-components', '1']);
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
