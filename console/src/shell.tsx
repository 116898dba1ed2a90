// What stands around every screen: the way to the others, who is signed in, light or dark.

import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { useAction } from './api/query.ts';
import { place } from './routing.tsx';
import { may, me, signOut } from './session.ts';
import { chooseTheme, type Theme, theme } from './theme.ts';
import { Button } from './ui/button.tsx';
import { Select } from './ui/field.tsx';
import { Icon, type IconName } from './ui/icon.tsx';
import { toast } from './ui/toast.tsx';

const PLACES: readonly { to: string; also: readonly string[]; icon: IconName; name: string }[] = [
  { to: '/', also: [], icon: 'overview', name: 'Overview' },
  { to: '/keys', also: [], icon: 'keys', name: 'Keys' },
  { to: '/traffic', also: [], icon: 'traffic', name: 'Live traffic' },
  { to: '/sessions', also: ['/tokens'], icon: 'tokens', name: 'Tokens & sessions' },
  { to: '/routes', also: ['/upstreams'], icon: 'routes', name: 'Routes & upstreams' },
  { to: '/audit', also: ['/redaction'], icon: 'audit', name: 'Audit & redaction' },
  { to: '/people', also: [], icon: 'people', name: 'People' },
];

export function Shell({ children }: { children: ComponentChildren }) {
  const [isOpen, setOpen] = useState(false);
  const id = useId();
  const { path } = place.value;
  useEffect(() => {
    setOpen(false);
  }, [path]);
  const isHere = (root: string) => path === root || (root !== '/' && path.startsWith(`${root}/`));

  return (
    <div class="shell">
      <a
        class="skip"
        href="#content"
        onClick={(event) => {
          event.preventDefault();
          document.querySelector<HTMLElement>('h1')?.focus();
        }}
      >
        Skip to the content
      </a>
      <header class="side">
        <div class="side-inside">
          <div class="brand">
            <a href="/">
              <Logo />
              <span>Keymoat</span>
            </a>
            <span class="menu-button">
              <Button
                look="plain"
                icon={isOpen ? 'close' : 'menu'}
                expanded={isOpen}
                controls={id}
                onClick={() => {
                  setOpen(!isOpen);
                }}
              >
                Menu
              </Button>
            </span>
          </div>
          <div id={id} class={isOpen ? 'menu is-open' : 'menu'}>
            <nav aria-label="Screens">
              <ul>
                {PLACES.filter(({ to }) => to !== '/people' || may('admin')).map(({ to, also, icon, name }) => (
                  <li key={to}>
                    <a href={to} aria-current={[to, ...also].some(isHere) ? 'page' : undefined}>
                      <Icon name={icon} />
                      {name}
                    </a>
                  </li>
                ))}
              </ul>
            </nav>
            <Who />
          </div>
        </div>
      </header>
      <main id="content">{children}</main>
    </div>
  );
}

function Who() {
  const leave = useAction(async () => {
    await signOut();
    toast('Signed out.');
  });
  return (
    <div class="who">
      <Select
        label="Theme"
        value={theme.value}
        options={[
          ['system', 'System theme'],
          ['light', 'Light theme'],
          ['dark', 'Dark theme'],
        ]}
        onChange={(chosen: Theme) => {
          chooseTheme(chosen);
        }}
        isLabelHidden
      />
      <p class="small soft break">
        Signed in as <strong>{me.value?.name}</strong> ({me.value?.role})
      </p>
      <Button small icon="out" disabled={leave.isRunning} onClick={() => void leave.run()}>
        Sign out
      </Button>
    </div>
  );
}

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="7" class="logo-ground" />
      <path d="M10 18V8h2.6v2h2V8h2.8v2h2V8H22v10z" class="logo-tower" />
      <path d="M7 22c2 1.6 4 1.6 6 0s4-1.6 6 0 4 1.6 6 0" class="logo-water" />
    </svg>
  );
}

interface PageProps {
  title: string;
  /** What this place is for, in one sentence. */
  about?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
}

/** A screen: its name is read out and is the title of the window. */
export function Page({ title, about, actions, children }: PageProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Keymoat`;
  }, [title]);
  useEffect(() => {
    // After a step within the console only: who just arrived hears the page from its beginning.
    if (hasMoved) heading.current?.focus({ preventScroll: true });
    hasMoved = true;
  }, []);
  return (
    <>
      <div class="page-head">
        <div>
          <h1 ref={heading} tabIndex={-1} class="break">
            {title}
          </h1>
          {about && <p class="soft">{about}</p>}
        </div>
        {actions && <div class="row">{actions}</div>}
      </div>
      <div class="stack page">{children}</div>
    </>
  );
}

let hasMoved = false;

/** The screens that share a place. */
export function Tabs({ label, all }: { label: string; all: readonly (readonly [string, string])[] }) {
  const { path } = place.value;
  return (
    <nav class="tabs" aria-label={label}>
      {all.map(([to, name]) => (
        <a key={to} href={to} aria-current={path === to ? 'page' : undefined}>
          {name}
        </a>
      ))}
    </nav>
  );
}

interface CardProps {
  title: string;
  about?: ComponentChildren;
  actions?: ComponentChildren;
  /** A table reaches to the edges. */
  isFlush?: boolean;
  children: ComponentChildren;
}

export function Card({ title, about, actions, isFlush, children }: CardProps) {
  const id = useId();
  return (
    <section class="card" aria-labelledby={id}>
      <header>
        <div>
          <h2 id={id}>{title}</h2>
          {about && <p>{about}</p>}
        </div>
        {actions && <div class="row">{actions}</div>}
      </header>
      <div class={isFlush ? 'flush' : 'inside'}>{children}</div>
    </section>
  );
}
