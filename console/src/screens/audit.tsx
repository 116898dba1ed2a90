// Who did what to Keymoat, newest first.

import { usePages } from '../api/query.ts';
import type { Event } from '../api/types.ts';
import { place, refine } from '../routing.tsx';
import { Page, Tabs } from '../shell.tsx';
import { Chip } from '../ui/chip.tsx';
import { Field, Select } from '../ui/field.tsx';
import { EmptyState } from '../ui/notice.tsx';
import { PagedTable } from '../ui/table.tsx';
import { Ago } from '../ui/time.tsx';
import { actionWords } from '../words.ts';

export const AUDIT_TABS = [
  ['/audit', 'Audit'],
  ['/redaction', 'Redaction'],
] as const;

const KINDS = [
  ['', 'Everything'],
  ['key', 'Keys'],
  ['token', 'Tokens'],
  ['session', 'Sessions'],
  ['upstream', 'Upstreams'],
  ['route', 'Routes'],
  ['sunset', 'Sunset'],
  ['admin', 'People and sign-ins'],
  ['keymoat', 'Keymoat itself'],
] as const;

export function AuditScreen() {
  const { query } = place.value;
  const about = query.get('about') ?? '';
  const text = query.get('text') ?? '';
  const pages = usePages<Event>('/events', { kind: 'act', action: about && `${about}.*`, text });
  return (
    <Page
      title="Audit"
      about="Who did what, and when. Nothing here can be changed, and nothing here holds a credential."
    >
      <Tabs label="Audit and redaction" all={AUDIT_TABS} />
      <section class="card" aria-label="Audit">
        <div class="inside filters">
          <Select
            label="About"
            value={KINDS.find(([kind]) => kind === about)?.[0] ?? ''}
            options={KINDS}
            onChange={(about) => {
              refine({ about });
            }}
          />
          <Field
            label="Text"
            type="search"
            value={text}
            placeholder="a name, an id, a word"
            onInput={(text) => {
              refine({ text });
            }}
          />
        </div>
        <div class="flush">
          <PagedTable
            caption="Acts"
            pages={pages}
            rowKey={({ seq }) => seq}
            empty={
              <EmptyState title="Nothing was done">
                <p>No act matches. Clear the filters, or come back after somebody has changed something.</p>
              </EmptyState>
            }
            columns={[
              { label: 'When', cell: ({ timestamp }) => <Ago at={timestamp} /> },
              { label: 'Who', cell: ({ actor }) => <Actor actor={actor} /> },
              {
                label: 'Did',
                cell: ({ action = '', severity }) => (
                  <Chip tone={severity === 'low' ? 'plain' : 'warn'}>{actionWords(action)}</Chip>
                ),
              },
              { label: 'To', cell: ({ target }) => <span class="break mono">{target ?? '–'}</span> },
              { label: 'More', cell: ({ detail }) => <span class="break">{detail ?? ''}</span> },
            ]}
          />
        </div>
      </section>
    </Page>
  );
}

function Actor({ actor = 'unknown' }: { actor?: string | undefined }) {
  if (actor === 'keymoat') return <span>Keymoat itself</span>;
  if (actor === 'command') return <span>a command on the machine</span>;
  return <span class="break">{actor}</span>;
}
