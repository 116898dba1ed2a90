// Takes over keys that clients already have, so that nobody has to change anything on the first day.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { useAction } from '../api/query.ts';
import type { Imported } from '../api/types.ts';
import { address } from '../routing.tsx';
import { Card, Page } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { Field } from '../ui/field.tsx';
import { Notice, ProblemNotice } from '../ui/notice.tsx';
import { plural } from '../ui/time.tsx';

export function ImportKeysScreen() {
  const [text, setText] = useState('');
  const [prefix, setPrefix] = useState('imported');
  const [owner, setOwner] = useState('');
  const [done, setDone] = useState<Imported>();
  const run = useAction(async () => {
    const body = { text, name_prefix: prefix.trim(), ...(owner.trim() && { owner: owner.trim() }) };
    const imported = await call<Imported>('POST', '/keys/import', { body });
    setText('');
    setDone(imported);
  });
  return (
    <Page
      title="Import keys"
      about="Clients keep the keys that they have; from then on Keymoat knows them, and can rotate them."
    >
      <Card title="The keys" about="The value of API_KEYS, or one key a line. They leave this page when they are sent.">
        <form
          class="form"
          onSubmit={(event) => {
            event.preventDefault();
            void run.run();
          }}
        >
          <Field
            label="Keys"
            value={text}
            onInput={setText}
            multiline
            rows={8}
            hint='A JSON list such as ["first","second"], or one key a line, each with a name before it if you like: name=key.'
          />
          <Field
            label="Name"
            value={prefix}
            onInput={setPrefix}
            hint="Keys without a name are called this, with a number."
          />
          <Field
            label="Owner"
            value={owner}
            onInput={setOwner}
            hint="Who answers for all of them. Empty: nobody is named."
          />
          <ProblemNotice problem={run.problem} />
          <div class="row">
            <Button type="submit" look="primary" disabled={run.isRunning || text.trim() === ''}>
              Import
            </Button>
            <a class="button" href="/keys">
              Back to the keys
            </a>
          </div>
        </form>
      </Card>
      {done && (
        <Card title={`${plural(done.imported.length, 'key')} imported`}>
          <div class="stack">
            {done.known.length > 0 && <p>Known already: {done.known.map(({ name }) => name).join(', ')}</p>}
            {done.refused.length > 0 && (
              <Notice tone="warn" title={`${plural(done.refused.length, 'line')} could not be taken`}>
                <ul>
                  {done.refused.map(({ line, detail }) => (
                    <li key={line}>
                      Line {line}: {detail}
                    </li>
                  ))}
                </ul>
              </Notice>
            )}
            <ul class="stack tight">
              {done.imported.map(({ id, name }) => (
                <li key={id}>
                  <a href={address('keys', id)}>{name}</a>
                </li>
              ))}
            </ul>
          </div>
        </Card>
      )}
    </Page>
  );
}
