// Paste a line, see what the redactor makes of it. The text goes to the server, is masked there and kept nowhere.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { useAction } from '../api/query.ts';
import type { Redaction } from '../api/types.ts';
import { Card, Page, Tabs } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { Chip } from '../ui/chip.tsx';
import { Field } from '../ui/field.tsx';
import { EmptyState, ProblemNotice } from '../ui/notice.tsx';
import { AUDIT_TABS } from './audit.tsx';

const EXAMPLE = 'GET /api/events?api_key=km_ThisIsNoRealKeyButLooksLikeOne0000000000000 HTTP/1.1';

export function RedactionScreen() {
  const [text, setText] = useState('');
  const [result, setResult] = useState<Redaction>();
  const redact = useAction(async () => {
    setResult(await call<Redaction>('POST', '/redactions', { body: { text } }));
  });
  return (
    <Page title="Redaction" about="What Keymoat masks in its logs, its events and every text that it passes on.">
      <Tabs label="Audit and redaction" all={AUDIT_TABS} />
      <div class="two">
        <Card title="Try a text" about="It is sent to this Keymoat, masked there, and kept nowhere.">
          <form
            class="stack"
            onSubmit={(event) => {
              event.preventDefault();
              void redact.run();
            }}
          >
            <Field label="Log lines" value={text} onInput={setText} multiline rows={9} placeholder={EXAMPLE} />
            <div class="row">
              <Button type="submit" look="primary" disabled={redact.isRunning || text === ''}>
                Redact
              </Button>
              <Button
                onClick={() => {
                  setText(EXAMPLE);
                }}
              >
                Use an example
              </Button>
            </div>
            <ProblemNotice problem={redact.problem} />
          </form>
        </Card>
        <Card title="What is left">
          {result ? (
            <div class="stack" aria-live="polite">
              <pre class="redacted">{result.text}</pre>
              {result.rules.length > 0 ? (
                <div>
                  <h3>Rules that hit</h3>
                  <ul class="chips">
                    {result.rules.map(({ name, count }) => (
                      <li key={name}>
                        <Chip tone="warn">
                          {name} × {count}
                        </Chip>
                      </li>
                    ))}
                  </ul>
                </div>
              ) : (
                <p class="soft">No rule hit: the text is as it was. Rules of your own go into the configuration.</p>
              )}
            </div>
          ) : (
            <EmptyState title="Nothing yet">
              <p>Paste a line on the left to see it masked, with the rule that hit.</p>
            </EmptyState>
          )}
        </Card>
      </div>
    </Page>
  );
}
