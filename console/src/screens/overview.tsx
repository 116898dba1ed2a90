// How far the way off URL keys is: how credentials travel, who still sends theirs in URLs, and what enforcing would do.

import type { ComponentChildren } from 'preact';
import { useLoaded, type Page as ApiPage } from '../api/query.ts';
import type { Session, SunsetStatus, UsageRow } from '../api/types.ts';
import { Card, Page } from '../shell.tsx';
import { type Bar, Chart } from '../ui/chart.tsx';
import { EmptyState, Loading, Notice, ProblemNotice } from '../ui/notice.tsx';
import { count, plural } from '../ui/time.tsx';
import { CARRIERS, kindOf, reasonWords } from '../words.ts';
import { Enforce } from './enforce.tsx';
import { UrlClients } from './url-clients.tsx';

const DAYS = 30;
const DAY_MS = 86_400_000;

export function OverviewScreen() {
  const from = new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS - (DAYS - 1) * DAY_MS).toISOString();
  const usage = useLoaded<ApiPage<UsageRow>>(
    '/usage',
    { by: 'day', group: 'carrier', outcome: 'allowed', from },
    60_000,
  );
  const refusals = useLoaded<ApiPage<UsageRow>>('/usage', { by: 'day', group: 'code', from: dayAgo() }, 60_000);
  const sessions = useLoaded<ApiPage<Session>>('/sessions', { limit: 200 }, 10_000);
  const sunset = useLoaded<SunsetStatus>('/sunset', {}, 60_000);
  const bars = usage.data && barsOf(usage.data.items);
  const all = bars?.reduce((sum, bar) => sum + totalOf(bar), 0) ?? 0;
  const byUrl = bars?.reduce((sum, bar) => sum + (bar.values['query'] ?? 0), 0) ?? 0;
  const last = bars?.at(-1);

  return (
    <Page
      title="Overview"
      about="How credentials travel through this gateway, and who still has to move theirs out of the URL."
    >
      <dl class="figures">
        <Figure name="Authenticated requests" value={count(all)} more={`in ${DAYS} days`} />
        <Figure
          name="With the key in the URL"
          value={count(byUrl)}
          more={all > 0 ? `${share(byUrl, all)} of all; ${count(last?.values['query'] ?? 0)} today` : 'none yet'}
          isBad={byUrl > 0}
        />
        <Figure
          name="Keys that still come by URL"
          value={sunset.data ? count(sunset.data.keys_by_url) : '–'}
          more={sunset.data ? `of ${plural(sunset.data.keys_live, 'key')}` : ''}
          isBad={(sunset.data?.keys_by_url ?? 0) > 0}
        />
        <Figure
          name="Live sessions"
          value={sessions.data ? `${count(sessions.data.items.length)}${sessions.data.next_cursor ? '+' : ''}` : '–'}
          more={<a href="/sessions">See them</a>}
        />
      </dl>
      <Card title="How credentials travel" about="Authenticated requests a day, by where the credential was.">
        <ProblemNotice problem={usage.problem} onRetry={usage.reload} />
        {!bars && !usage.problem && <Loading what="the chart" />}
        {bars && all > 0 && <Chart title="Requests a day by carrier" series={CARRIERS} bars={bars} unit="requests" />}
        {bars && all === 0 && (
          <EmptyState title="No requests yet">
            <p>The first one through the gateway shows here, by where its credential was.</p>
          </EmptyState>
        )}
      </Card>
      <UrlClients />
      <Enforce status={sunset} />
      <Card title="What was refused, and why" about="In the last 24 hours.">
        <ProblemNotice problem={refusals.problem} onRetry={refusals.reload} />
        {refusals.data ? <Refusals rows={refusals.data.items} /> : !refusals.problem && <Loading what="the refusals" />}
      </Card>
    </Page>
  );
}

interface FigureProps {
  name: string;
  value: string;
  more: ComponentChildren;
  isBad?: boolean;
}

function Figure({ name, value, more, isBad }: FigureProps) {
  return (
    <div class={isBad ? 'card figure bad' : 'card figure'}>
      <dt>{name}</dt>
      <dd>{value}</dd>
      <dd>{more}</dd>
    </div>
  );
}

function Refusals({ rows }: { rows: readonly UsageRow[] }) {
  const sums = new Map<string, number>();
  for (const { group, requests } of rows) if (group) sums.set(group, (sums.get(group) ?? 0) + requests);
  const ranked = [...sums].sort(([, a], [, b]) => b - a);
  const top = ranked[0]?.[1] ?? 1;
  if (ranked.length === 0) return <Notice tone="good">Nothing was refused.</Notice>;
  return (
    <ol class="ranks">
      {ranked.map(([code, number]) => (
        <li key={code}>
          <span class="row spread">
            <span>
              {reasonWords(code)} <code class="soft small">{code}</code>
            </span>
            <strong class="number">{count(number)}</strong>
          </span>
          <svg aria-hidden="true" focusable="false">
            <rect width={`${(number / top) * 100}%`} height="6" />
          </svg>
        </li>
      ))}
    </ol>
  );
}

const dayAgo = () => new Date(Math.floor(Date.now() / 3_600_000) * 3_600_000 - DAY_MS).toISOString();
const totalOf = (bar: Bar) => Object.values(bar.values).reduce((sum, value) => sum + value, 0);
const share = (part: number, whole: number) =>
  new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 1 }).format(part / whole);

/** One bar for each day, also for those without a request. */
export function barsOf(rows: readonly UsageRow[], today = Date.now()): Bar[] {
  const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });
  const end = Math.floor(today / DAY_MS) * DAY_MS;
  const bars = Array.from({ length: DAYS }, (_, index): Bar => {
    const at = new Date(end - (DAYS - 1 - index) * DAY_MS);
    return { label: day.format(at), name: at.toISOString().slice(0, 10), values: {} };
  });
  const byName = new Map(bars.map((bar) => [bar.name, bar]));
  for (const { at, group, requests } of rows) {
    const bar = byName.get(at.slice(0, 10));
    if (!bar || !group) continue;
    const kind = kindOf(group);
    bar.values[kind] = (bar.values[kind] ?? 0) + requests;
  }
  return bars;
}
