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

/** Whether a key works, in a word. */
export function KeyState({ item }: { item: Key }) {
  const isOver = (at: string | null | undefined) => at != null && Date.parse(at) <= now.value;
  if (item.revoked_at) return <Chip tone="bad">revoked</Chip>;
  if (isOver(item.expires_at)) return <Chip tone="bad">expired</Chip>;
  if (item.secrets.length > 1 && item.secrets.some(({ ends_at }) => ends_at && !isOver(ends_at))) {
    return <Chip tone="warn">being rotated</Chip>;
  }
  if (isOver(item.rotate_after)) return <Chip tone="warn">wants rotation</Chip>;
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
