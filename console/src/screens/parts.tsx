// Small things that several screens show.

import type { Key } from '../api/types.ts';
import { address } from '../routing.tsx';
import { Chip, CredentialChip } from '../ui/chip.tsx';
import { now } from '../ui/time.tsx';
import { carrierTone, carrierWords, outcomeTone } from '../words.ts';

export function CarrierChip({ carrier }: { carrier: string }) {
  return <Chip tone={carrierTone(carrier)}>{carrierWords(carrier)}</Chip>;
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
