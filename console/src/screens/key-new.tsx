// A new key: what it may do, then its text, once, with what to paste into the client.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { useAction, useLoaded, type Page as ApiPage } from '../api/query.ts';
import type { NewKey, Route } from '../api/types.ts';
import { address } from '../routing.tsx';
import { Card, Page } from '../shell.tsx';
import { keySnippets } from '../snippets.ts';
import { targetFor, useGateway } from '../target.ts';
import { Button } from '../ui/button.tsx';
import { Checks, Field } from '../ui/field.tsx';
import { ProblemNotice } from '../ui/notice.tsx';
import { SecretOnce } from '../ui/secret-once.tsx';
import { Snippets } from '../ui/snippet.tsx';

export function NewKeyScreen() {
  const [made, setMade] = useState<NewKey>();
  return (
    <Page
      title={made ? `Key ${made.key.name}` : 'Create a key'}
      about={made ? undefined : 'One key for each client, so that it can be rotated and revoked on its own.'}
    >
      {made ? <Made made={made} /> : <Form onMade={setMade} />}
    </Page>
  );
}

function Form({ onMade }: { onMade: (made: NewKey) => void }) {
  const routes = useLoaded<ApiPage<Route>>('/routes', { limit: 200 });
  const [name, setName] = useState('');
  const [owner, setOwner] = useState('');
  const [scopes, setScopes] = useState<string[]>([]);
  const [days, setDays] = useState('');
  const [rotateDays, setRotateDays] = useState('');
  const create = useAction(async () => {
    const body = {
      name: name.trim(),
      ...(owner.trim() && { owner: owner.trim() }),
      ...(scopes.length > 0 && { scopes }),
      ...(days && { expires_at: new Date(Date.now() + Number(days) * 86_400_000).toISOString() }),
      ...(rotateDays && { rotate_after_secs: Number(rotateDays) * 86_400 }),
    };
    onMade(await call<NewKey>('POST', '/keys', { body }));
  });
  const known = routes.data?.items.map(({ name }) => [name, name] as const) ?? [];
  return (
    <Card title="What it is for">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          void create.run();
        }}
      >
        <Field
          label="Name"
          value={name}
          onInput={setName}
          hint="What people call it, such as voice-app."
          required
          autoFocus
        />
        <Field
          label="Owner"
          value={owner}
          onInput={setOwner}
          hint="Who answers for it: a person, a team, an address. Empty: nobody is named."
        />
        <Checks
          legend="May use"
          options={[...known, ['mint', 'mint: may make tokens']]}
          chosen={scopes}
          onChange={setScopes}
          hint="Nothing chosen: every route."
        />
        <div class="columns">
          <Field
            label="Ends after (days)"
            type="number"
            min={1}
            value={days}
            onInput={setDays}
            hint="Empty: it does not end by itself."
          />
          <Field
            label="Remind to rotate after (days)"
            type="number"
            min={1}
            value={rotateDays}
            onInput={setRotateDays}
            hint="Empty: no reminder."
          />
        </div>
        <ProblemNotice problem={create.problem} />
        <div class="row">
          <Button type="submit" look="primary" disabled={create.isRunning || !name.trim()}>
            Create
          </Button>
          <a class="button" href="/keys">
            Cancel
          </a>
        </div>
      </form>
    </Card>
  );
}

function Made({ made }: { made: NewKey }) {
  const [secret, setSecret] = useState<string | undefined>(made.secret);
  const gateway = useGateway();
  const routes = useLoaded<ApiPage<Route>>('/routes', { limit: 200 });
  const { scopes, id } = made.key;
  const route = routes.data?.items.find(({ name }) => scopes.includes('*') || scopes.includes(name));
  return (
    <>
      {secret !== undefined && (
        <SecretOnce
          what="key"
          secret={secret}
          onGone={() => {
            setSecret(undefined);
            // The answer that brought it goes as well.
            made.secret = '';
          }}
        />
      )}
      <Card title="Use it" about="The key goes into a header; a browser gets short-lived tokens instead.">
        <Snippets label="How to use the key" all={keySnippets(targetFor(gateway, route))} />
      </Card>
      <p class="row">
        <a class="button" href={address('keys', id)}>
          Go to the key
        </a>
        <a class="button" href="/keys">
          All keys
        </a>
      </p>
    </>
  );
}
