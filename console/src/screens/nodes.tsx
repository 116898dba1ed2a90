// The nodes over the store: which there are, and whether each keeps up.

import { usePages } from '../api/query.ts';
import type { Node } from '../api/types.ts';
import { Card } from '../shell.tsx';
import { Chip, type Tone } from '../ui/chip.tsx';
import { EmptyState } from '../ui/notice.tsx';
import { PagedTable } from '../ui/table.tsx';
import { Ago, lasting } from '../ui/time.tsx';

/** How often the list is loaded anew. */
const EVERY_MS = 5000;

/** A clock may be so far from the store's before somebody is told. */
const CLOCK_MILLIS_MAX = 2000;

export function NodesCard() {
  const nodes = usePages<Node>('/nodes', {}, 50, EVERY_MS);
  const versions = new Set(nodes.rows?.map(({ version }) => version));
  return (
    <Card title="Nodes" isFlush>
      <PagedTable
        caption="Nodes"
        pages={nodes}
        rowKey={({ id }) => id}
        empty={<EmptyState title="No nodes" />}
        columns={[
          {
            label: 'Node',
            isHead: true,
            cell: ({ name, is_this }) => (
              <span class="break">
                {name} {is_this && <span class="soft">(this one)</span>}
              </span>
            ),
          },
          { label: 'Serves at', cell: ({ address }) => <span class="break mono">{address}</span> },
          {
            label: 'Version',
            cell: ({ version }) => (versions.size > 1 ? <Chip tone="warn">{version}</Chip> : version),
          },
          { label: 'Runs since', cell: ({ started_at }) => <Ago at={started_at} /> },
          { label: 'State', cell: (node) => <StateChip node={node} /> },
          { label: 'Keeps up', cell: (node) => <KeepsUp node={node} /> },
        ]}
      />
    </Card>
  );
}

const TONES: Record<Node['state'], Tone> = { ready: 'good', draining: 'warn', unseen: 'bad' };

function StateChip({ node: { state, unseen_millis } }: { node: Node }) {
  return (
    <Chip tone={TONES[state]}>{state === 'unseen' ? `not seen for ${lasting(unseen_millis / 1000)}` : state}</Chip>
  );
}

/** Whether it has seen what changed, and has the time. */
function KeepsUp({ node: { changes_behind: behind, clock_ahead_millis: ahead } }: { node: Node }) {
  if (behind > 0) return <Chip tone="warn">{`${String(behind)} changes behind`}</Chip>;
  if (Math.abs(ahead) > CLOCK_MILLIS_MAX) {
    const words = `clock ${lasting(Math.abs(ahead) / 1000)} ${ahead > 0 ? 'ahead' : 'behind'}`;
    return <Chip tone="warn">{words}</Chip>;
  }
  return <span>yes</span>;
}
