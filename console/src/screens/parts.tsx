// Small things that several screens show.

import type { ComponentChildren } from 'preact';
import type { Key } from '../api/types.ts';
import { address, place, refine } from '../routing.tsx';
import { Chip, CredentialChip } from '../ui/chip.tsx';
import { Select } from '../ui/field.tsx';
import { now } from '../ui/time.tsx';
import { carrierTone, carrierWords, outcomeTone } from '../words.ts';

export function CarrierChip({ carrier }: { carrier: string }) {
  return <Chip tone={carrierTone(carrier)}>{carrierWords(carrier)}</Chip>;
}

/** What a client offered as a subprotocol; a credential among it has come as its kind only, such as `api-key.•`. */
export function ProtocolChip({ name, isChosen }: { name: string; isChosen: boolean }) {
  if (name.endsWith('•')) return <CredentialChip kind="credential" name={name === '•' ? 'not shown' : name} />;
  return (
    <Chip tone={isChosen ? 'good' : 'plain'} title={isChosen ? 'Offered and chosen' : 'Offered'}>
      {name}
    </Chip>
  );
}

/** A list of one screen, below what it is filtered by. */
export function ListCard({
  label,
  filters,
  children,
}: {
  label: string;
  filters: ComponentChildren;
  children: ComponentChildren;
}) {
  return (
    <section class="card" aria-label={label}>
      <div class="inside filters">{filters}</div>
      <div class="flush">{children}</div>
    </section>
  );
}

type States = readonly (readonly [string, string])[];

/** The state that the address asks for, out of those that there are. */
export const stateOf = (states: States): string =>
  states.find(([state]) => state === place.value.query.get('state'))?.[0] ?? '';

/** Chooses the state of what a list shows. */
export function StateFilter({ states }: { states: States }) {
  return (
    <Select
      label="Show"
      value={stateOf(states)}
      options={states}
      onChange={(state) => {
        refine({ state });
      }}
    />
  );
}

export function OutcomeChip({ outcome }: { outcome: string | undefined }) {
  return <Chip tone={outcomeTone(outcome)}>{outcome ?? 'unknown'}</Chip>;
}

export function Scopes({ scopes }: { scopes: readonly string[] | null | undefined }) {
  if (!scopes || scopes.length === 0 || scopes.includes('*')) return <span>every route</span>;
  return (
    <span class="chips">
      {scopes.map((scope) => (
        <span class="chip plain" key={scope}>
          <span>{scope}</span>
        </span>
      ))}
    </span>
  );
}

/** All that is public of a key's text: what every key of its form begins with. */
export function Prefix({ prefix }: { prefix: string | null | undefined }) {
  if (!prefix) return null;
  return <code class="soft small">{prefix}…</code>;
}

/** Whether two secrets of a key work. */
export const isRotating = ({ secrets }: Key): boolean => secrets.filter(({ is_live }) => is_live).length > 1;

/** Whether a key works, in a word. */
export function KeyState({ item }: { item: Key }) {
  if (item.state !== 'live') return <Chip tone="bad">{item.state}</Chip>;
  if (isRotating(item)) return <Chip tone="warn">being rotated</Chip>;
  if (item.rotate_after && Date.parse(item.rotate_after) <= now.value) return <Chip tone="warn">wants rotation</Chip>;
  return <Chip tone="good">works</Chip>;
}

/** The key that something was done with, leading to it. */
export function KeyLink({ id, name }: { id: string | null | undefined; name?: string | null | undefined }) {
  if (!id) return <span class="soft">–</span>;
  return (
    <a href={address('keys', id)}>
      <CredentialChip kind="key" name={name ?? id} />
    </a>
  );
}
