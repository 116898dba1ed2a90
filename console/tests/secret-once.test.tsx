// A credential that is shown once: hidden until it is asked for, and forgotten with the page.

import { render } from 'preact';
import { act } from 'preact/test-utils';
import { expect, test, vi } from 'vitest';
import { SecretOnce } from '../src/ui/secret-once.tsx';

const SECRET = 'km_ThisIsForTheTestOnly0000000000000000';

test('it is in the page only while somebody looks', () => {
  const root = document.createElement('div');
  document.body.replaceChildren(root);
  const gone = vi.fn();
  void act(() => {
    render(<SecretOnce what="key" secret={SECRET} onGone={gone} />, root);
  });
  expect(root.innerHTML).not.toContain(SECRET);
  const button = [...root.querySelectorAll('button')].find(({ textContent }) => textContent === 'Show it');
  void act(() => {
    button?.click();
  });
  expect(root.querySelector('output')?.textContent).toBe(SECRET);
  void act(() => {
    button?.click();
  });
  expect(root.innerHTML).not.toContain(SECRET);
  dispatchEvent(new Event('pagehide'));
  expect(gone).toHaveBeenCalledTimes(1);
});
