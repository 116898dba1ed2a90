// What refusing keys in URLs would have done, route by route, and the button that does it.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { type Loaded, useAction, useLoaded } from '../api/query.ts';
import type { SunsetPlan, SunsetStatus } from '../api/types.ts';
import { address } from '../routing.tsx';
import { may } from '../session.ts';
import { Card } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { Chip } from '../ui/chip.tsx';
import { Confirm } from '../ui/dialog.tsx';
import { Loading, Notice, ProblemNotice } from '../ui/notice.tsx';
import { Table } from '../ui/table.tsx';
import { onDay, plural } from '../ui/time.tsx';
import { toast } from '../ui/toast.tsx';
import { PolicyChip } from './routes.tsx';

type Planned = SunsetPlan['routes'][number];

export function Enforce({ status }: { status: Loaded<SunsetStatus> }) {
  const plan = useLoaded<SunsetPlan>('/sunset/plan', {}, 60_000);
  const [asked, setAsked] = useState<string>();
  const { data, problem, reload } = status;
  const planned = (name: string) => plan.data?.routes.find(({ route }) => route === name);
  return (
    <Card
      title="Enforce"
      about="A dry run says what refusing keys in URLs would have done in the last 24 hours. Nothing changes until you enforce."
      isFlush
    >
      {(problem ?? plan.problem) && (
        <div class="inside">
          <ProblemNotice problem={problem ?? plan.problem} onRetry={reload} />
        </div>
      )}
      {!data && !problem && <Loading what="the routes" />}
      {data && (
        <Table
          caption="Routes and what enforcing would do"
          rows={data.routes}
          rowKey={({ route }) => route}
          columns={[
            { label: 'Route', isHead: true, cell: ({ route }) => <a href={address('routes', route)}>{route}</a> },
            { label: 'Credentials in URLs', cell: ({ query }) => <PolicyChip policy={query} /> },
            { label: 'Ends on', cell: ({ sunset }) => (sunset ? onDay(sunset) : <span class="soft">no date</span>) },
            { label: 'Dry run', cell: ({ route }) => <DryRun planned={planned(route)} /> },
            {
              label: 'Actions',
              isBare: true,
              cell: ({ route, query }) =>
                query === 'warn' || query === 'allow' ? (
                  may('operator') && (
                    <Button
                      small
                      look="danger"
                      label={`Enforce on ${route}`}
                      onClick={() => {
                        setAsked(route);
                      }}
                    >
                      Enforce
                    </Button>
                  )
                ) : (
                  <Chip tone="good">enforced</Chip>
                ),
            },
          ]}
        />
      )}
      {asked !== undefined && (
        <EnforceRoute
          route={asked}
          planned={planned(asked)}
          onClose={() => {
            setAsked(undefined);
          }}
          onDone={() => {
            reload();
            plan.reload();
          }}
        />
      )}
    </Card>
  );
}

function DryRun({ planned }: { planned: Planned | undefined }) {
  if (!planned || planned.refused_requests === 0) return <span class="soft">would have refused nothing</span>;
  return (
    <span>
      would have refused <strong>{plural(planned.refused_requests, 'request')}</strong> by{' '}
      <strong>{plural(planned.refused_keys, 'key')}</strong>
    </span>
  );
}

interface EnforceProps {
  route: string;
  planned: Planned | undefined;
  onClose: () => void;
  onDone: () => void;
}

function EnforceRoute({ route, planned, onClose, onDone }: EnforceProps) {
  const enforce = useAction(async () => {
    await call('POST', '/sunset/enforce', { body: { routes: [route] } });
    toast(`${route} takes no keys in URLs any more.`);
    onClose();
    onDone();
  });
  const hits = planned !== undefined && planned.refused_requests > 0;
  return (
    <Confirm title={`Refuse keys in URLs on ${route}?`} confirm="Enforce" action={enforce} onClose={onClose}>
      <p>From the next second on a key in a URL is refused on this route. Short-lived tokens still work.</p>
      {hits ? (
        <Notice tone="warn" title="Somebody will notice">
          <p>
            In the last 24 hours it <DryRun planned={planned} />.
          </p>
        </Notice>
      ) : (
        <Notice tone="good">In the last 24 hours nobody would have been refused.</Notice>
      )}
      <p class="soft small">To take it back, remove the override on the route’s page.</p>
    </Confirm>
  );
}
