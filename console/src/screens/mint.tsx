// A token by hand, to try something out.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { useAction, useLoaded, type Page } from '../api/query.ts';
import type { Key, NewToken } from '../api/types.ts';
import { Card } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { Field, Select } from '../ui/field.tsx';
import { Notice, ProblemNotice } from '../ui/notice.tsx';
import { SecretOnce } from '../ui/secret-once.tsx';

export function MintToken({ onClose, onMinted }: { onClose: () => void; onMinted: () => void }) {
  const keys = useLoaded<Page<Key>>('/keys', { limit: 200, state: 'live' });
  const [keyId, setKeyId] = useState('');
  const [uses, setUses] = useState('1');
  const [minutes, setMinutes] = useState('10');
  const [origin, setOrigin] = useState('');
  const [made, setMade] = useState<string>();
  const from = keyId || keys.data?.items[0]?.id || '';
  const mint = useAction(async () => {
    const body = {
      key_id: from,
      uses: Number(uses),
      live_for_secs: Number(minutes) * 60,
      start_within_secs: Number(minutes) * 60,
      ...(origin.trim() && { origins: [origin.trim()] }),
    };
    const { token } = await call<NewToken>('POST', '/tokens', { body });
    setMade(token);
    onMinted();
  });
  return (
    <Card
      title="Mint a token"
      about="For trying something out: in production your server mints them."
      actions={
        <Button small look="plain" icon="close" onClick={onClose}>
          Close
        </Button>
      }
    >
      {made === undefined ? (
        <form
          class="form"
          onSubmit={(event) => {
            event.preventDefault();
            void mint.run();
          }}
        >
          {keys.data?.items.length === 0 ? (
            <Notice tone="warn">There is no key to make it from. Create one first.</Notice>
          ) : (
            <Select
              label="From key"
              value={from}
              options={keys.data?.items.map(({ id, name }) => [id, name] as const) ?? []}
              onChange={setKeyId}
            />
          )}
          <div class="columns">
            <Field
              label="Uses"
              type="number"
              min={1}
              value={uses}
              onInput={setUses}
              hint="How many sessions it may open."
            />
            <Field label="Lives for (minutes)" type="number" min={1} value={minutes} onInput={setMinutes} />
          </div>
          <Field
            label="Origin"
            value={origin}
            onInput={setOrigin}
            placeholder="https://app.example"
            hint="Optional: only pages of this origin may use it."
          />
          <ProblemNotice problem={keys.problem ?? mint.problem} />
          <div class="row">
            <Button type="submit" look="primary" disabled={mint.isRunning || !from}>
              Mint
            </Button>
          </div>
        </form>
      ) : (
        <SecretOnce
          what="token"
          secret={made}
          onGone={() => {
            setMade(undefined);
            onClose();
          }}
        />
      )}
    </Card>
  );
}
