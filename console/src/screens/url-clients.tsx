// Who still sends a key in a URL, the busiest first, with what to change.

import { useLoaded } from '../api/query.ts';
import type { SunsetRow, SunsetStatus } from '../api/types.ts';
import { Card } from '../shell.tsx';
import { fixFor } from '../snippets.ts';
import { targetFor, useGateway } from '../target.ts';
import { EmptyState, Loading, ProblemNotice } from '../ui/notice.tsx';
import { Snippet } from '../ui/snippet.tsx';
import { Table } from '../ui/table.tsx';
import { Ago, count } from '../ui/time.tsx';
import { CarrierChip, KeyLink } from './parts.tsx';

export function UrlClients() {
  const { data, problem, reload } = useLoaded<SunsetStatus>('/sunset', {}, 60_000);
  return (
    <Card
      title="Keys that still come by URL"
      about="The busiest first. Each shows what to paste into its client."
      isFlush
    >
      {problem && (
        <div class="inside">
          <ProblemNotice problem={problem} onRetry={reload} />
        </div>
      )}
      {!data && !problem && <Loading what="the keys" />}
      {data?.items.length === 0 && (
        <EmptyState title="No key comes by URL">
          <p>Nothing stands in the way of refusing keys in URLs.</p>
        </EmptyState>
      )}
      {data && data.items.length > 0 && (
        <Table
          caption="Keys that still come by URL"
          rows={data.items}
          rowKey={({ key_id, route, carrier }) => `${key_id} ${route} ${carrier}`}
          columns={[
            { label: 'Key', isHead: true, cell: ({ key_id, key_name }) => <KeyLink id={key_id} name={key_name} /> },
            { label: 'Route', cell: ({ route }) => route },
            { label: 'By', cell: ({ carrier }) => <CarrierChip carrier={carrier} /> },
            { label: 'Client', cell: ({ user_agent }) => <span class="break">{user_agent ?? 'does not say'}</span> },
            { label: 'Last seen', cell: ({ last_seen_at }) => <Ago at={last_seen_at} /> },
            { label: 'Requests', isNumber: true, cell: ({ requests }) => count(requests) },
            { label: 'Fix', isBare: true, cell: (row) => <Fix row={row} /> },
          ]}
        />
      )}
    </Card>
  );
}

function Fix({ row }: { row: SunsetRow }) {
  const gateway = useGateway();
  const fix = fixFor(row, targetFor(gateway, undefined));
  return (
    <details class="fix">
      <summary>The fix</summary>
      <Snippet title={fix.title} text={fix.text} />
    </details>
  );
}
