// A question that cannot be taken back wants its name typed, and is asked for once.

import { render } from 'preact';
import { act } from 'preact/test-utils';
import { expect, test, vi } from 'vitest';
import { useAction } from '../src/api/query.ts';
import { Confirm } from '../src/ui/dialog.tsx';

const shown = (run: () => Promise<void>) => {
  const root = document.createElement('div');
  document.body.replaceChildren(root);
  const Asked = () => {
    const action = useAction(run);
    return (
      <Confirm title="Revoke?" confirm="Revoke" typed="old-app" action={action} onClose={() => undefined}>
        <p>For good.</p>
      </Confirm>
    );
  };
  void act(() => {
    render(<Asked />, root);
  });
  return root;
};
const type = (root: Element, text: string) => {
  void act(() => {
    const input = root.querySelector('input');
    if (!input) throw new Error('no field');
    input.value = text;
    input.dispatchEvent(new Event('input', { bubbles: true }));
  });
};
const submit = (root: Element) => {
  void act(() => {
    root.querySelector('form')?.dispatchEvent(new Event('submit', { bubbles: true, cancelable: true }));
  });
};

test('only the right name is taken, and only once', () => {
  const run = vi.fn(() => new Promise<void>(() => undefined));
  const root = shown(run);
  submit(root);
  type(root, 'old-ap');
  submit(root);
  expect(run).not.toHaveBeenCalled();
  type(root, 'old-app');
  submit(root);
  submit(root);
  expect(run).toHaveBeenCalledTimes(1);
});

test('what went wrong is said in the dialog, with a next step', async () => {
  const root = shown(() => Promise.reject(new Error('secret detail')));
  type(root, 'old-app');
  submit(root);
  await act(async () => {
    await Promise.resolve();
  });
  expect(root.textContent).toContain('Something unexpected happened');
  expect(root.textContent).not.toContain('secret detail');
});
