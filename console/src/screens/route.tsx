// One route: its policy, what was overridden here, and the line that makes it permanent.

import { useState } from 'preact/hooks';
import type { ScreenProps } from '../app.tsx';
import { call } from '../api/client.ts';
import { useAction, useLoaded } from '../api/query.ts';
import type { QueryPolicy, Route } from '../api/types.ts';
import { address } from '../routing.tsx';
import { may } from '../session.ts';
import { Card, Page } from '../shell.tsx';
import { keySnippets } from '../snippets.ts';
import { targetFor, useGateway } from '../target.ts';
import { Button } from '../ui/button.tsx';
import { Chip } from '../ui/chip.tsx';
import { Select } from '../ui/field.tsx';
import { Loading, Notice, ProblemNotice } from '../ui/notice.tsx';
import { Snippet, Snippets } from '../ui/snippet.tsx';
import { At, onDay } from '../ui/time.tsx';
import { toast } from '../ui/toast.tsx';
import { carrierWords, QUERY_POLICIES } from '../words.ts';
import { PolicyChip } from './routes.tsx';

export function RouteScreen({ parts: [name = ''] }: ScreenProps) {
  const path = `/routes/${encodeURIComponent(name)}`;
  const { data: route, etag, problem, reload } = useLoaded<Route>(path);
  const gateway = useGateway();
  if (!route) {
    return (
      <Page title={`Route ${name}`}>
        {problem ? <ProblemNotice problem={problem} onRetry={reload} /> : <Loading what="the route" />}
      </Page>
    );
  }
  return (
    <Page title={`Route ${route.name}`} about={<PolicyChip policy={route.query_now} />}>
      <div class="two">
        <Card title="Policy">
          <dl class="facts">
            <dt>Upstream</dt>
            <dd>
              <a href={address('upstreams', route.upstream)}>{route.upstream}</a>
            </dd>
            <dt>Speaks</dt>
            <dd>{route.dialect}</dd>
            <dt>Paths</dt>
            <dd class="break mono">{route.paths.join(', ') || 'the dialect’s own'}</dd>
            <dt>Credentials are read from</dt>
            <dd>
              <ul>
                {route.carriers.map((carrier) => (
                  <li key={carrier} class="break">
                    {carrierWords(carrier)}
                  </li>
                ))}
              </ul>
            </dd>
            <dt>Credentials in URLs</dt>
            <dd>{QUERY_POLICIES[route.query_now]?.meaning ?? route.query_now}</dd>
            <dt>Keys in URLs end</dt>
            <dd>{route.sunset ? onDay(route.sunset) : <span class="soft">no date</span>}</dd>
            <dt>Pages of</dt>
            <dd class="break">{route.origins == null ? 'any origin' : route.origins.join(', ') || 'no origin'}</dd>
          </dl>
        </Card>
        <Override route={route} etag={etag} onDone={reload} />
      </div>
      <Card title="How clients use it">
        <Snippets label="How clients use this route" all={keySnippets(targetFor(gateway, route))} />
      </Card>
    </Page>
  );
}

function Override({ route, etag, onDone }: { route: Route; etag: string | undefined; onDone: () => void }) {
  const [query, setQuery] = useState<QueryPolicy>(route.query_now);
  const path = `/routes/${encodeURIComponent(route.name)}/override`;
  const set = useAction(async () => {
    await call('PUT', path, { etag, body: { query } });
    toast(`${route.name} has another policy from now on.`);
    onDone();
  });
  const remove = useAction(async () => {
    await call('DELETE', path);
    toast(`${route.name} is as the configuration says.`);
    onDone();
  });
  const { override } = route;
  return (
    <Card title="Override" about="Takes effect at once, without a restart, and stays until it is removed.">
      <div class="stack">
        {override ? (
          <>
            <Notice tone="warn">
              <p>
                Set by {override.by}, <At at={override.at} />. To make it permanent, write this into the configuration
                and remove the override:
              </p>
            </Notice>
            <Snippet title="keymoat.toml" text={override.toml} />
          </>
        ) : (
          <p class="soft">
            None: the route is as the configuration says <Chip tone="good">in step</Chip>
          </p>
        )}
        {may('operator') && (
          <form
            class="form"
            onSubmit={(event) => {
              event.preventDefault();
              void set.run();
            }}
          >
            <Select
              label="Credentials in URLs"
              value={query}
              options={Object.entries(QUERY_POLICIES).map(
                ([policy, { label, meaning }]) => [policy as QueryPolicy, `${label}: ${meaning}`] as const,
              )}
              onChange={setQuery}
            />
            <ProblemNotice problem={set.problem ?? remove.problem} />
            <div class="row">
              <Button type="submit" look="primary" disabled={set.isRunning || query === route.query_now}>
                Override
              </Button>
              {override && (
                <Button disabled={remove.isRunning} onClick={() => void remove.run()}>
                  Remove the override
                </Button>
              )}
            </div>
          </form>
        )}
      </div>
    </Card>
  );
}
