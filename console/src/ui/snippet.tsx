// Text to paste elsewhere.

import { useState } from 'preact/hooks';
import { Button } from './button.tsx';

/** Copies `text`, and says whether that worked. */
export function CopyButton({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [state, setState] = useState<'ready' | 'done' | 'failed'>('ready');
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setState('done');
    } catch {
      setState('failed');
    }
    setTimeout(() => {
      setState('ready');
    }, 2500);
  };
  const shown = { ready: label, done: 'Copied', failed: 'Select it and copy' }[state];
  return (
    <>
      <Button small look="plain" icon={state === 'done' ? 'check' : 'copy'} onClick={() => void copy()}>
        {shown}
      </Button>
      <span class="hidden" role="status">
        {state === 'done' ? 'Copied' : ''}
      </span>
    </>
  );
}

export function Snippet({ title, text }: { title: string; text: string }) {
  return (
    <div class="snippet">
      <header>
        <span>{title}</span>
        <CopyButton text={text} />
      </header>
      <pre tabIndex={0} role="region" aria-label={title}>
        <code>{text}</code>
      </pre>
    </div>
  );
}

/** The same in several languages. */
export function Snippets({ label, all }: { label: string; all: readonly (readonly [string, string])[] }) {
  const [chosen, setChosen] = useState(0);
  const [title, text] = all[chosen] ?? ['', ''];
  const move = (step: number) => {
    setChosen((chosen + step + all.length) % all.length);
  };
  return (
    <div class="stack tight">
      <div
        class="tabs"
        role="tablist"
        aria-label={label}
        onKeyDown={(event) => {
          if (event.key === 'ArrowRight') move(1);
          if (event.key === 'ArrowLeft') move(-1);
          if (event.key === 'ArrowRight' || event.key === 'ArrowLeft') {
            const tabs = event.currentTarget;
            queueMicrotask(() => tabs.querySelector<HTMLElement>('[aria-selected="true"]')?.focus());
          }
        }}
      >
        {all.map(([name], index) => (
          <button
            key={name}
            type="button"
            role="tab"
            aria-selected={index === chosen}
            tabIndex={index === chosen ? 0 : -1}
            onClick={() => {
              setChosen(index);
            }}
          >
            {name}
          </button>
        ))}
      </div>
      <div role="tabpanel" aria-label={title}>
        <Snippet title={title} text={text} />
      </div>
    </div>
  );
}
