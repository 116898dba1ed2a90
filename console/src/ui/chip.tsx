// Words with a meaning, in a frame. A credential is shown as what it is and which, never as its text.

import type { ComponentChildren } from 'preact';
import { Icon } from './icon.tsx';

export type Tone = 'plain' | 'good' | 'warn' | 'bad';

export function Chip({
  tone = 'plain',
  children,
  title,
}: {
  tone?: Tone;
  children: ComponentChildren;
  title?: string;
}) {
  return (
    <span class={`chip ${tone}`} title={title}>
      <span>{children}</span>
    </span>
  );
}

/** What kind of credential it was; `name` is its public id or prefix, which opens nothing. */
export function CredentialChip({ kind, name }: { kind: 'key' | 'token' | 'credential'; name?: string | undefined }) {
  const word = { key: 'Key', token: 'Token', credential: 'A credential' }[kind];
  return (
    <span class="chip credential" title={`${word} ${name ?? ''}: its text is never shown`}>
      <Icon name={kind === 'token' ? 'clock' : 'key'} />
      <span>
        <span class="hidden">{word} </span>
        {name ?? word.toLowerCase()}
      </span>
    </span>
  );
}
