// Where in the console one is: the address bar, one signal, and links that are ordinary links.

import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';

/** A place in the console. */
export interface Place {
  path: string;
  query: URLSearchParams;
}

const read = (): Place => ({ path: location.pathname, query: new URLSearchParams(location.search) });

export const place = signal<Place>(read());

/** Goes to another screen. */
export function go(address: string): void {
  if (address !== location.pathname + location.search) history.pushState(null, '', address);
  place.value = read();
  scrollTo(0, 0);
}

/** Changes the query of this screen without a new entry in the history: filters are shareable and do not trap the way back. */
export function refine(changes: Record<string, string | undefined>): void {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined || value === '') query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  history.replaceState(null, '', location.pathname + (text && `?${text}`));
  place.value = read();
}

/** Lets links within the console change the screen, and leaves all others to the browser. */
export function followLinks(): void {
  addEventListener('popstate', () => {
    place.value = read();
  });
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (link.pathname.startsWith('/api/') || link.hash) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}

/** The parts of `path` that stand where `pattern` has `:`, or nothing. */
export function match(pattern: string, path: string): string[] | undefined {
  const wanted = pattern.split('/');
  const given = path.replace(/\/+$/, '').split('/');
  if (wanted.length !== given.length && !(pattern === '/' && path === '/')) return;
  const parts: string[] = [];
  for (const [index, part] of wanted.entries()) {
    const found = given[index] ?? '';
    if (part === ':') parts.push(decoded(found));
    else if (part !== found) return;
  }
  return parts;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** An address in the console, each part encoded. */
export const address = (...parts: string[]): string => `/${parts.map(encodeURIComponent).join('/')}`;

/** The address of this screen with another query. */
export function Link({ to, children, current }: { to: string; children: ComponentChildren; current?: boolean }) {
  return (
    <a href={to} aria-current={current ? 'page' : undefined}>
      {children}
    </a>
  );
}
