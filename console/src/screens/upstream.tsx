// One upstream: where it is, where the real key goes, and whether it answers.

import { useState } from 'preact/hooks';
import type { ScreenProps } from '../app.tsx';
import { call } from '../api/client.ts';
import { useAction, useLoaded } from '../api/query.ts';
import type { Upstream, UpstreamTest } from '../api/types.ts';
import { may } from '../session.ts';
import { Card, Page } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { Confirm } from '../ui/dialog.tsx';
import { Field } from '../ui/field.tsx';
import { Loading, Notice, ProblemNotice } from '../ui/notice.tsx';
import { Ago, count, exactly } from '../ui/time.tsx';
import { toast } from '../ui/toast.tsx';
import { CertificateChip, secretWords } from './routes.tsx';

export function UpstreamScreen({ parts: [name = ''] }: ScreenProps) {
  const path = `/upstreams/${encodeURIComponent(name)}`;
  const { data: upstream, problem, reload } = useLoaded<Upstream>(path);
  const [tested, setTested] = useState<UpstreamTest>();
  const test = useAction(async () => {
    setTested(undefined);
    setTested(await call<UpstreamTest>('POST', `${path}/test`));
    reload();
  });
  if (!upstream) {
    return (
      <Page title={`Upstream ${name}`}>
        {problem ? <ProblemNotice problem={problem} onRetry={reload} /> : <Loading what="the upstream" />}
      </Page>
    );
  }
  return (
    <Page
      title={`Upstream ${upstream.name}`}
      actions={
        may('operator') && (
          <Button look="primary" disabled={test.isRunning} onClick={() => void test.run()}>
            {test.isRunning ? 'Tests …' : 'Test'}
          </Button>
        )
      }
    >
      <ProblemNotice problem={test.problem} />
      {upstream.withheld && (
        <Notice tone="bad" title="Nothing is sent to it">
          <p class="break">{upstream.withheld}</p>
        </Notice>
      )}
      {tested && (
        <Notice tone={tested.ok ? 'good' : 'bad'} title={tested.ok ? 'It answers' : 'It does not work'}>
          <p class="break" role="status">
            {tested.detail}
            {tested.status ? ` Status ${tested.status}` : ''}
            {tested.duration_millis ? ` in ${count(tested.duration_millis)} ms.` : ''}
          </p>
        </Notice>
      )}
      <div class="two">
        <Card title="Where it is">
          <dl class="facts">
            <dt>Address</dt>
            <dd class="break mono">{upstream.url}</dd>
            <dt>Speaks</dt>
            <dd>{upstream.dialect}</dd>
            <dt>Real key goes into</dt>
            <dd class="break mono">{upstream.inject}</dd>
            <dt>Certificate</dt>
            <dd>
              {tested?.certificate ? (
                <>
                  <CertificateChip certificate={tested.certificate} />
                  <p class="soft small break">
                    until {exactly(tested.certificate.not_after)}, for {tested.certificate.names.join(', ')}
                  </p>
                </>
              ) : (
                <span class="soft">{upstream.url.startsWith('https:') ? 'a test shows it' : 'none: plain text'}</span>
              )}
            </dd>
          </dl>
        </Card>
        <Secret upstream={upstream} onDone={reload} />
      </div>
    </Page>
  );
}

function Secret({ upstream, onDone }: { upstream: Upstream; onDone: () => void }) {
  const [secret, setSecret] = useState('');
  const [isRemoving, setRemoving] = useState(false);
  const path = `/upstreams/${encodeURIComponent(upstream.name)}/secret`;
  const set = useAction(async () => {
    await call('PUT', path, { body: { secret } });
    setSecret('');
    toast('New sessions use the new secret.');
    onDone();
  });
  const remove = useAction(async () => {
    await call('DELETE', path);
    toast('The secret is removed.');
    setRemoving(false);
    onDone();
  });
  const isSealed = upstream.secret.source === 'sealed';
  const isOwn = isSealed || upstream.secret.source === 'none';
  return (
    <Card title="The real key" about="Sealed in the store, put on requests, and never shown again.">
      <div class="stack">
        <p>
          Comes from: <strong class="break">{secretWords(upstream.secret)}</strong>
          {upstream.secret.set_at && (
            <>
              , set <Ago at={upstream.secret.set_at} />
            </>
          )}
        </p>
        {may('admin') && isOwn && (
          <form
            class="form"
            onSubmit={(event) => {
              event.preventDefault();
              void set.run();
            }}
          >
            <Field
              label="Another secret"
              type="password"
              autoComplete="off"
              value={secret}
              onInput={setSecret}
              hint="New sessions use it; open ones go on with the old one."
            />
            <ProblemNotice problem={set.problem} />
            <div class="row">
              <Button type="submit" look="primary" disabled={set.isRunning || secret === ''}>
                Seal it
              </Button>
              {isSealed && (
                <Button
                  look="danger"
                  onClick={() => {
                    setRemoving(true);
                  }}
                >
                  Remove
                </Button>
              )}
            </div>
          </form>
        )}
      </div>
      {isRemoving && (
        <Confirm
          title={`Remove the secret of ${upstream.name}?`}
          confirm="Remove"
          typed={upstream.name}
          action={remove}
          onClose={() => {
            setRemoving(false);
          }}
        >
          <p>Requests to it are answered with 503 until it has a secret again.</p>
        </Confirm>
      )}
    </Card>
  );
}
