// Light, dark, or as the system has it.

import { signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';

const KEPT = 'keymoat.theme';

export const theme = signal<Theme>('system');

const isTheme = (text: unknown): text is Theme => text === 'system' || text === 'light' || text === 'dark';

/** Takes up what this browser was told before. */
export function applyTheme(): void {
  let kept: unknown;
  try {
    kept = localStorage.getItem(KEPT);
  } catch {
    // A browser that keeps nothing: the system decides.
  }
  chooseTheme(isTheme(kept) ? kept : 'system');
}

/** Shows `chosen` from here on. */
export function chooseTheme(chosen: Theme): void {
  theme.value = chosen;
  if (chosen === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = chosen;
  try {
    localStorage.setItem(KEPT, chosen);
  } catch {
    // For this page only, then.
  }
}
