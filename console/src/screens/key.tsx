// One key: what it may do, its secrets and what each still carries, and the ways to change or end it.

import { useState } from 'preact/hooks';
import type { ScreenProps } from '../app.tsx';
import { call } from '../api/client.ts';
import { type Page, useAction, useLoaded, usePages } from '../api/query.ts';
import type { Event, Key, NewKey, UsageRow } from '../api/types.ts';
import { may } from '../session.ts';
import { Card, Page as Screen } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { Chip, CredentialChip } from '../ui/chip.tsx';
import { Confirm } from '../ui/dialog.tsx';
import { Field, Select } from '../ui/field.tsx';
import { EmptyState, Loading, Notice, ProblemNotice } from '../ui/notice.tsx';
import { SecretOnce } from '../ui/secret-once.tsx';
import { PagedTable, Table } from '../ui/table.tsx';
import { Ago, At, count } from '../ui/time.tsx';
import { toast } from '../ui/toast.tsx';
import { EVENT_COLUMNS } from './event-columns.tsx';
import { isRotating, KeyState, Prefix, Scopes } from './parts.tsx';

const OVERLAPS = [
  ['0', 'None: the old one stops at once'],
  ['3600', '1 hour'],
  ['86400', '1 day'],
  ['604800', '7 days'],
  ['2592000', '30 days'],
] as const;

export function KeyScreen({ parts: [id = ''] }: ScreenProps) {
  const path = `/keys/${encodeURIComponent(id)}`;
  const { data: key, etag, problem, reload } = useLoaded<Key>(path, {}, 15_000);
  const [asked, setAsked] = useState<'owner' | 'rotate' | 'revoke'>();
  const [made, setMade] = useState<string>();
  if (!key) {
    return (
      <Screen title="Key">
        {problem ? <ProblemNotice problem={problem} onRetry={reload} /> : <Loading what="the key" />}
      </Screen>
    );
  }
  const canChange = may('operator') && key.source === 'store' && !key.revoked_at;
  const close = () => {
    setAsked(undefined);
  };
  return (
    <Screen
      title={key.name}
      about={<KeyState item={key} />}
      actions={
        canChange && (
          <>
            <Button
              onClick={() => {
                setAsked('owner');
              }}
            >
              Change the owner
            </Button>
            <Button
              onClick={() => {
                setAsked('rotate');
              }}
            >
              Rotate
            </Button>
            <Button
              look="danger"
              onClick={() => {
                setAsked('revoke');
              }}
            >
              Revoke
            </Button>
          </>
        )
      }
    >
      {made !== undefined && (
        <SecretOnce
          what="new secret"
          secret={made}
          onGone={() => {
            setMade(undefined);
          }}
        />
      )}
      <ProblemNotice problem={problem} onRetry={reload} />
      <Facts item={key} />
      <Secrets item={key} />
      <Recent id={key.id} />
      {asked === 'owner' && <Owner item={key} etag={etag} onClose={close} onDone={reload} />}
      {asked === 'rotate' && (
        <Rotate
          item={key}
          etag={etag}
          onClose={close}
          onMade={({ secret }) => {
            setMade(secret);
            close();
            reload();
          }}
        />
      )}
      {asked === 'revoke' && <Revoke item={key} onClose={close} onDone={reload} />}
    </Screen>
  );
}

function Facts({ item }: { item: Key }) {
  const limits = Object.entries(item.limits ?? {}).filter(([, limit]) => limit != null && String(limit) !== '');
  return (
    <Card title="The key">
      <dl class="facts">
        <dt>Id</dt>
        <dd>
          <CredentialChip kind="key" name={item.id} />
        </dd>
        <dt>Begins with</dt>
        <dd>
          {item.prefix ? <Prefix prefix={item.prefix} /> : <span class="soft">not known: it came from elsewhere</span>}
        </dd>
        <dt>Owner</dt>
        <dd class="break">{item.owner ?? <span class="soft">nobody is named</span>}</dd>
        <dt>May use</dt>
        <dd>
          <Scopes scopes={item.scopes} />
        </dd>
        <dt>Created</dt>
        <dd>
          <At at={item.created_at} />
        </dd>
        <dt>Ends</dt>
        <dd>
          <Ago at={item.expires_at} never="not by itself" />
        </dd>
        <dt>Rotation</dt>
        <dd>{item.rotate_after ? <Ago at={item.rotate_after} /> : <span class="soft">no reminder</span>}</dd>
        <dt>Limits</dt>
        <dd>
          {limits.length === 0 ? (
            <span class="soft">none of its own</span>
          ) : (
            <ul>
              {limits.map(([name, limit]) => (
                <li key={name}>
                  {name.replaceAll('_', ' ')}: {typeof limit === 'number' ? count(limit) : String(limit)}
                </li>
              ))}
            </ul>
          )}
        </dd>
      </dl>
      {item.source === 'file' && <Notice>This key is named in the configuration. Change it there.</Notice>}
    </Card>
  );
}

const WEEK_MS = 7 * 86_400_000;

function Secrets({ item }: { item: Key }) {
  const from = new Date(Math.floor(Date.now() / 86_400_000) * 86_400_000 - WEEK_MS).toISOString();
  const usage = useLoaded<Page<UsageRow>>('/usage', { by: 'day', group: 'secret', key: item.id, from }, 15_000);
  const today = new Date().toISOString().slice(0, 10);
  const of = (id: string, isToday: boolean) =>
    (usage.data?.items ?? [])
      .filter(({ group, at }) => group === id && (!isToday || at.startsWith(today)))
      .reduce((sum, { requests }) => sum + requests, 0);
  return (
    <Card
      title="Secrets"
      about={
        isRotating(item)
          ? 'Both work until the old one ends. Watch its requests go down to none.'
          : 'Rotating adds a second one.'
      }
      isFlush
    >
      <Table
        caption="Secrets of this key"
        rows={item.secrets}
        rowKey={({ id }) => id}
        columns={[
          { label: 'Secret', isHead: true, cell: ({ id }) => <CredentialChip kind="key" name={id} /> },
          { label: 'Made', cell: ({ created_at }) => <Ago at={created_at} /> },
          {
            label: 'Works until',
            cell: ({ ends_at }) => (ends_at ? <Ago at={ends_at} /> : <Chip tone="good">newest</Chip>),
          },
          { label: 'Requests today', isNumber: true, cell: ({ id }) => count(of(id, true)) },
          { label: 'In 7 days', isNumber: true, cell: ({ id }) => count(of(id, false)) },
        ]}
      />
    </Card>
  );
}

function Recent({ id }: { id: string }) {
  const pages = usePages<Event>('/events', { key: id }, 15);
  return (
    <Card title="What it did lately" isFlush>
      <PagedTable
        caption="Events of this key"
        pages={pages}
        rowKey={({ seq }) => seq}
        columns={EVENT_COLUMNS}
        empty={
          <EmptyState title="Not used yet">
            <p>Its first request shows here, with the route and how the key travelled.</p>
          </EmptyState>
        }
      />
    </Card>
  );
}

interface OwnerProps {
  item: Key;
  etag: string | undefined;
  onClose: () => void;
  onDone: () => void;
}

function Owner({ item, etag, onClose, onDone }: OwnerProps) {
  const [owner, setOwner] = useState(item.owner ?? '');
  const change = useAction(async () => {
    const body = { owner: owner.trim() || null };
    await call('PATCH', `/keys/${encodeURIComponent(item.id)}`, { etag, body });
    onClose();
    onDone();
  });
  return (
    <Confirm title={`Owner of ${item.name}`} confirm="Change" look="primary" action={change} onClose={onClose}>
      <Field
        label="Owner"
        value={owner}
        onInput={setOwner}
        hint="Who answers for it: a person, a team, an address. Empty: nobody is named."
        autoFocus
      />
    </Confirm>
  );
}

interface RotateProps {
  item: Key;
  etag: string | undefined;
  onClose: () => void;
  onMade: (made: NewKey) => void;
}

function Rotate({ item, etag, onClose, onMade }: RotateProps) {
  const [overlap, setOverlap] = useState<(typeof OVERLAPS)[number][0]>('604800');
  const rotate = useAction(async () => {
    const path = `/keys/${encodeURIComponent(item.id)}/rotate`;
    const body = { overlap_secs: Number(overlap), end_oldest: isRotating(item) };
    onMade(await call<NewKey>('POST', path, { etag, body }));
  });
  return (
    <Confirm title={`Rotate ${item.name}`} confirm="Rotate" look="primary" action={rotate} onClose={onClose}>
      <p>
        A second secret is made and shown once. The old one works beside it for as long as you choose, so that no client
        is refused meanwhile.
      </p>
      <Select label="The old secret works for another" value={overlap} options={OVERLAPS} onChange={setOverlap} />
      {isRotating(item) && (
        <Notice tone="warn">It is being rotated already: rotating again ends the oldest secret at once.</Notice>
      )}
    </Confirm>
  );
}

function Revoke({ item, onClose, onDone }: { item: Key; onClose: () => void; onDone: () => void }) {
  const revoke = useAction(async () => {
    await call('POST', `/keys/${encodeURIComponent(item.id)}/revoke`);
    toast(`${item.name} is revoked.`);
    onClose();
    onDone();
  });
  return (
    <Confirm
      title={`Revoke ${item.name}?`}
      confirm="Revoke for good"
      typed={item.name}
      action={revoke}
      onClose={onClose}
    >
      <p>
        From the next second on no client gets in with it or with a token made from it, and live sessions are closed.
        This cannot be taken back.
      </p>
    </Confirm>
  );
}
