// Short words about what was done, read out politely, gone after a while.

import { signal } from '@preact/signals';
import { Button } from './button.tsx';

const SHOWN_MS = 7000;

const toasts = signal<{ id: number; text: string }[]>([]);
let last = 0;

/** Says that something was done. */
export function toast(text: string): void {
  const id = ++last;
  toasts.value = [...toasts.value.slice(-2), { id, text }];
  setTimeout(() => {
    drop(id);
  }, SHOWN_MS);
}

const drop = (id: number) => {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
};

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map(({ id, text }) => (
        <div class="toast" key={id}>
          <span class="break">{text}</span>
          <Button
            small
            look="plain"
            icon="close"
            label="Dismiss"
            onClick={() => {
              drop(id);
            }}
          >
            {null}
          </Button>
        </div>
      ))}
    </div>
  );
}
