// Who may administer this Keymoat.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { useAction, usePages } from '../api/query.ts';
import type { Admin, NewAdmin, Role } from '../api/types.ts';
import { may, me } from '../session.ts';
import { Card, Page } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { Chip } from '../ui/chip.tsx';
import { Confirm } from '../ui/dialog.tsx';
import { Field, Select } from '../ui/field.tsx';
import { EmptyState, Notice, ProblemNotice } from '../ui/notice.tsx';
import { SecretOnce } from '../ui/secret-once.tsx';
import { PagedTable } from '../ui/table.tsx';
import { Ago } from '../ui/time.tsx';
import { toast } from '../ui/toast.tsx';
import { PASSWORD_CHARS_MIN } from './claim.tsx';

const ROLES = [
  ['viewer', 'Viewer: looks'],
  ['operator', 'Operator: also makes and ends keys, tokens, sessions'],
  ['admin', 'Admin: also people and the secrets of upstreams'],
] as const;

export function PeopleScreen() {
  const pages = usePages<Admin>('/admins');
  const [leaving, setLeaving] = useState<Admin>();
  return (
    <Page
      title="People"
      about="Who may look at and steer this Keymoat: people with a password, and programs with an admin key."
    >
      <section class="card" aria-label="People">
        <PagedTable
          caption="People and admin keys"
          pages={pages}
          rowKey={({ id }) => id}
          empty={<EmptyState title="Nobody yet" />}
          columns={[
            { label: 'Name', cell: ({ name }) => <span class="break">{name}</span>, isHead: true },
            { label: 'Role', cell: ({ role }) => <Chip tone={role === 'admin' ? 'warn' : 'plain'}>{role}</Chip> },
            { label: 'Signs in with', cell: ({ kind }) => (kind === 'person' ? 'a password' : 'an admin key') },
            { label: 'Since', cell: ({ created_at }) => <Ago at={created_at} /> },
            { label: 'Ends', cell: ({ expires_at }) => <Ago at={expires_at} /> },
            {
              label: 'Actions',
              isBare: true,
              cell: (admin) =>
                may('admin') && admin.id !== me.value?.id ? (
                  <div class="row">
                    <Button
                      small
                      look="danger"
                      label={`Remove ${admin.name}`}
                      onClick={() => {
                        setLeaving(admin);
                      }}
                    >
                      Remove
                    </Button>
                  </div>
                ) : admin.id === me.value?.id ? (
                  <span class="soft small">This is you</span>
                ) : null,
            },
          ]}
        />
      </section>
      {may('admin') && <AddSomebody onAdded={pages.reload} />}
      {leaving && (
        <Remove
          admin={leaving}
          onClose={() => {
            setLeaving(undefined);
          }}
          onDone={pages.reload}
        />
      )}
    </Page>
  );
}

function Remove({ admin, onClose, onDone }: { admin: Admin; onClose: () => void; onDone: () => void }) {
  const remove = useAction(async () => {
    await call('DELETE', `/admins/${encodeURIComponent(admin.id)}`);
    toast(`${admin.name} may administer no longer.`);
    onClose();
    onDone();
  });
  return (
    <Confirm title={`Remove ${admin.name}?`} confirm="Remove" action={remove} onClose={onClose}>
      <p class="break">
        {admin.kind === 'person' ? 'The password stops working' : 'The admin key stops working'} at once, and open
        sessions of the console end.
      </p>
    </Confirm>
  );
}

function AddSomebody({ onAdded }: { onAdded: () => void }) {
  const [kind, setKind] = useState<'person' | 'key'>('person');
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [password, setPassword] = useState('');
  const [made, setMade] = useState<string>();
  const add = useAction(async () => {
    const body = { name: name.trim(), role, kind, ...(kind === 'person' && { password }) };
    const { name: added, secret } = await call<NewAdmin>('POST', '/admins', { body });
    setPassword('');
    setName('');
    setMade(secret ?? undefined);
    toast(`${added} may administer now.`);
    onAdded();
  });
  return (
    <Card title="Add somebody">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          void add.run();
        }}
      >
        {made !== undefined && (
          <SecretOnce
            what="admin key"
            secret={made}
            onGone={() => {
              setMade(undefined);
            }}
          />
        )}
        <Select
          label="Who"
          value={kind}
          options={[
            ['person', 'A person, with a password'],
            ['key', 'A program, with an admin key'],
          ]}
          onChange={setKind}
        />
        <Field label="Name" value={name} onInput={setName} required />
        <Select label="Role" value={role} options={ROLES} onChange={setRole} />
        {kind === 'person' && (
          <Field
            label="First password"
            type="password"
            autoComplete="new-password"
            value={password}
            onInput={setPassword}
            hint={`At least ${PASSWORD_CHARS_MIN} characters. Hand it over in person.`}
            required
          />
        )}
        {kind === 'key' && <Notice>The admin key is shown once, right after this.</Notice>}
        <ProblemNotice problem={add.problem} />
        <div class="row">
          <Button type="submit" look="primary" disabled={add.isRunning || !name.trim()}>
            Add
          </Button>
        </div>
      </form>
    </Card>
  );
}
