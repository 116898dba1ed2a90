// The columns in which a list shows requests and sessions.

import type { Event } from '../api/types.ts';
import type { Column } from '../ui/table.tsx';
import { Ago } from '../ui/time.tsx';
import { actionWords, reasonWords } from '../words.ts';
import { CarrierChip, OutcomeChip } from './parts.tsx';

export const EVENT_COLUMNS: readonly Column<Event>[] = [
  { label: 'When', cell: ({ timestamp }) => <Ago at={timestamp} /> },
  {
    label: 'Outcome',
    cell: ({ outcome, action = '' }) => (outcome ? <OutcomeChip outcome={outcome} /> : actionWords(action)),
  },
  {
    label: 'Request',
    cell: ({ method, path, protocol }) => (
      <span class="break mono">
        {path !== undefined ? `${protocol === 'websocket' ? 'WS' : (method ?? '')} ${path}` : '–'}
      </span>
    ),
  },
  { label: 'Route', cell: ({ route }) => route ?? '–' },
  { label: 'By', cell: ({ carrier }) => (carrier ? <CarrierChip carrier={carrier} /> : '–') },
  { label: 'Why', cell: (event) => <span class="break">{ending(event)}</span> },
];

/** How it ended, in words. */
export function ending({ code, close_code, close_reason, status, cause }: Event): string {
  const said = close_code
    ? `close ${close_code}${close_reason ? ` ${close_reason}` : ''}`
    : status
      ? `status ${status}`
      : '';
  return [code && reasonWords(code), cause, said].filter(Boolean).join(' · ');
}
