// What is configured: routes and the APIs behind them, with what was overridden since; and the nodes that serve it.

import { usePages } from '../api/query.ts';
import type { Certificate, QueryPolicy, Route, Upstream } from '../api/types.ts';
import { address } from '../routing.tsx';
import { Card, Page } from '../shell.tsx';
import { Chip } from '../ui/chip.tsx';
import { EmptyState } from '../ui/notice.tsx';
import { PagedTable } from '../ui/table.tsx';
import { QUERY_POLICIES } from '../words.ts';
import { NodesCard } from './nodes.tsx';

export function RoutesScreen() {
  const routes = usePages<Route>('/routes');
  const upstreams = usePages<Upstream>('/upstreams');
  return (
    <Page
      title="Routes and upstreams"
      about="Which requests go where, and what is put on them. The configuration owns these; what is changed here is an override."
    >
      <Card title="Routes" isFlush>
        <PagedTable
          caption="Routes"
          pages={routes}
          rowKey={({ name }) => name}
          empty={
            <EmptyState title="No routes">
              <p>Routes are written in the configuration. Without one, Keymoat refuses everything.</p>
            </EmptyState>
          }
          columns={[
            {
              label: 'Route',
              isHead: true,
              cell: ({ name }) => (
                <a class="break" href={address('routes', name)}>
                  {name}
                </a>
              ),
            },
            { label: 'To', cell: ({ upstream }) => <a href={address('upstreams', upstream)}>{upstream}</a> },
            { label: 'Speaks', cell: ({ dialect }) => dialect },
            {
              label: 'Paths',
              cell: ({ paths }) => <span class="break mono">{paths.join(', ') || 'the dialect’s own'}</span>,
            },
            { label: 'Credentials in URLs', cell: ({ query_now }) => <PolicyChip policy={query_now} /> },
            { label: 'Changed here', cell: ({ override }) => (override ? <Chip tone="warn">override</Chip> : '–') },
          ]}
        />
      </Card>
      <Card title="Upstreams" isFlush>
        <PagedTable
          caption="Upstreams"
          pages={upstreams}
          rowKey={({ name }) => name}
          empty={<EmptyState title="No upstreams" />}
          columns={[
            {
              label: 'Upstream',
              isHead: true,
              cell: ({ name }) => (
                <a class="break" href={address('upstreams', name)}>
                  {name}
                </a>
              ),
            },
            { label: 'Address', cell: ({ url }) => <span class="break mono">{url}</span> },
            { label: 'Speaks', cell: ({ dialect }) => dialect },
            { label: 'Real key goes into', cell: ({ inject }) => <span class="break mono">{inject}</span> },
            { label: 'Secret', cell: ({ secret }) => <span class="break">{secretWords(secret)}</span> },
            {
              label: 'State',
              cell: ({ withheld }) => (withheld ? <Chip tone="bad">withheld</Chip> : <Chip tone="good">in use</Chip>),
            },
          ]}
        />
      </Card>
      <NodesCard />
    </Page>
  );
}

export function PolicyChip({ policy: word }: { policy: QueryPolicy }) {
  const policy = QUERY_POLICIES[word];
  return (
    <Chip tone={policy?.tone ?? 'plain'} title={policy?.meaning ?? ''}>
      {policy?.label ?? word}
    </Chip>
  );
}

/** Where the real key comes from. */
export const secretWords = ({ source, reference }: Upstream['secret']): string =>
  ({ sealed: 'sealed in the store', built_in: 'built in', none: 'none' })[source] ?? reference ?? source;

export function CertificateChip({ certificate }: { certificate: Certificate }) {
  const { days_left: days } = certificate;
  return (
    <Chip tone={days < 7 ? 'bad' : days < 30 ? 'warn' : 'good'}>{days < 0 ? 'expired' : `${days} days left`}</Chip>
  );
}
