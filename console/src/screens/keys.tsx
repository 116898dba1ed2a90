// All keys: whose they are, how they last came in, and when they end.

import { usePages } from '../api/query.ts';
import type { ListedKey } from '../api/types.ts';
import { address, place, refine } from '../routing.tsx';
import { may } from '../session.ts';
import { Page } from '../shell.tsx';
import { Chip, CredentialChip } from '../ui/chip.tsx';
import { Field } from '../ui/field.tsx';
import { EmptyState } from '../ui/notice.tsx';
import { PagedTable } from '../ui/table.tsx';
import { Ago } from '../ui/time.tsx';
import { CarrierChip, KeyState, ListCard, Prefix, Scopes, StateFilter, stateOf } from './parts.tsx';

const STATES = [
  ['', 'All keys'],
  ['live', 'That work'],
  ['revoked', 'Revoked'],
  ['expired', 'Expired'],
] as const;

export function KeysScreen() {
  const { query } = place.value;
  const text = query.get('text') ?? '';
  const state = stateOf(STATES);
  const pages = usePages<ListedKey>('/keys', { text, state });
  return (
    <Page
      title="Keys"
      about="Long-lived credentials of clients. They belong in headers or subprotocols, never in a URL."
      actions={
        may('operator') && (
          <>
            <a class="button" href="/keys/import">
              Import
            </a>
            <a class="button primary" href="/keys/new">
              Create a key
            </a>
          </>
        )
      }
    >
      <ListCard
        label="Keys"
        filters={
          <>
            <Field
              label="Find"
              type="search"
              value={text}
              placeholder="name, owner or id"
              onInput={(text) => {
                refine({ text });
              }}
            />
            <StateFilter states={STATES} />
          </>
        }
      >
        <PagedTable
          caption="Keys"
          pages={pages}
          rowKey={({ id }) => id}
          empty={
            <EmptyState title={text || state ? 'No key matches' : 'No keys yet'}>
              <p>
                {text || state
                  ? 'Clear the filters to see the others.'
                  : 'Create one for each client: a key of its own can be rotated and revoked without touching the others.'}
              </p>
            </EmptyState>
          }
          columns={[
            {
              label: 'Name',
              isHead: true,
              cell: ({ id, name, source, prefix }) => (
                <>
                  <a class="break" href={address('keys', id)}>
                    {name}
                  </a>
                  <span class="chips">
                    <CredentialChip kind="key" name={id} />
                    <Prefix prefix={prefix} />
                    {source === 'file' && <Chip>file</Chip>}
                  </span>
                </>
              ),
            },
            { label: 'Owner', cell: ({ owner }) => <span class="break">{owner ?? '–'}</span> },
            { label: 'May use', cell: ({ scopes }) => <Scopes scopes={scopes} /> },
            { label: 'Last used', cell: ({ last_used_at }) => <Ago at={last_used_at} /> },
            {
              label: 'By',
              cell: ({ last_carrier }) => (last_carrier ? <CarrierChip carrier={last_carrier} /> : '–'),
            },
            { label: 'Ends', cell: ({ expires_at }) => <Ago at={expires_at} /> },
            { label: 'State', cell: (key) => <KeyState item={key} /> },
          ]}
        />
      </ListCard>
      <p class="soft small">
        A <Chip>file</Chip> key is named in the configuration and can only be changed there.
      </p>
    </Page>
  );
}
