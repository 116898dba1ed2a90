// What is connected right now, what each session asked for and what it got, and the way to end it.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { useAction, useLoaded, usePages } from '../api/query.ts';
import type { Session, SessionWhole } from '../api/types.ts';
import { may } from '../session.ts';
import { Page, Tabs } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { CredentialChip } from '../ui/chip.tsx';
import { Confirm, Look } from '../ui/dialog.tsx';
import { EmptyState, Loading, Notice, ProblemNotice } from '../ui/notice.tsx';
import { Snippet } from '../ui/snippet.tsx';
import { PagedTable } from '../ui/table.tsx';
import { bytes, lasting, now } from '../ui/time.tsx';
import { toast } from '../ui/toast.tsx';
import { CarrierChip, KeyLink } from './parts.tsx';
import { TOKEN_TABS } from './tokens.tsx';

export function SessionsScreen() {
  const pages = usePages<Session>('/sessions', {}, 50, 3000);
  const [ending, setEnding] = useState<Session>();
  const [looking, setLooking] = useState<Session>();
  return (
    <Page title="Live sessions" about="WebSockets and streams that are open now.">
      <Tabs label="Tokens and sessions" all={TOKEN_TABS} />
      <section class="card" aria-label="Live sessions">
        <PagedTable
          caption="Live sessions"
          pages={pages}
          rowKey={({ id }) => id}
          empty={
            <EmptyState title="Nothing is connected">
              <p>A WebSocket or an event stream shows here as long as it is open.</p>
            </EmptyState>
          }
          columns={[
            {
              label: 'Route',
              isHead: true,
              cell: ({ route, model }) => (
                <>
                  <span class="break">{route}</span>
                  {model && <div class="small soft break">{model}</div>}
                </>
              ),
            },
            {
              label: 'Who, and by what',
              cell: ({ token_id, key_id, key_name, carrier }) => (
                <span class="chips">
                  {token_id ? <CredentialChip kind="token" name={token_id} /> : <KeyLink id={key_id} name={key_name} />}
                  {carrier && <CarrierChip carrier={carrier} />}
                </span>
              ),
            },
            {
              label: 'Client',
              cell: ({ client, protocol, origin, user_agent }) => (
                <>
                  {client}
                  <div class="soft small break">
                    {[protocol, origin && `from ${origin}`, user_agent].filter(Boolean).join(' · ')}
                  </div>
                </>
              ),
            },
            {
              label: 'Open for',
              isNumber: true,
              cell: ({ opened_at }) => (
                <span class="nowrap">{lasting((now.value - Date.parse(opened_at)) / 1000)}</span>
              ),
            },
            {
              label: 'In / out',
              isNumber: true,
              cell: ({ bytes_in, bytes_out }) => (
                <span class="nowrap">
                  {bytes(bytes_in)} / {bytes(bytes_out)}
                </span>
              ),
            },
            {
              label: 'Actions',
              isBare: true,
              cell: (session) => (
                <div class="row">
                  <Button
                    small
                    label={`Setup of the session on ${session.route} from ${session.client}`}
                    onClick={() => {
                      setLooking(session);
                    }}
                  >
                    Setup
                  </Button>
                  {may('operator') && (
                    <Button
                      small
                      look="danger"
                      label={`End the session on ${session.route} from ${session.client}`}
                      onClick={() => {
                        setEnding(session);
                      }}
                    >
                      End
                    </Button>
                  )}
                </div>
              ),
            },
          ]}
        />
      </section>
      {looking && (
        <Setup
          session={looking}
          onClose={() => {
            setLooking(undefined);
          }}
        />
      )}
      {ending && (
        <EndSession
          session={ending}
          onClose={() => {
            setEnding(undefined);
          }}
          onDone={pages.reload}
        />
      )}
    </Page>
  );
}

/** What a session asked for, beside what it got. */
function Setup({ session, onClose }: { session: Session; onClose: () => void }) {
  const { data, problem, reload } = useLoaded<SessionWhole>(`/sessions/${encodeURIComponent(session.id)}`);
  return (
    <Look title="How this session is set up" onClose={onClose}>
      <ProblemNotice problem={problem} onRetry={reload} />
      {!data && !problem && <Loading what="its setup" />}
      {data && !data.setup_asked && !data.setup_effective && (
        <Notice>
          Nothing holds this session to a setup, so Keymoat does not look at what its client asks for. It does where a
          token or a key’s models lock something.
        </Notice>
      )}
      {data && (data.setup_asked ?? data.setup_effective) && (
        <>
          <p>What its token or key locks has replaced what the client asked for. Long texts are cut short.</p>
          <div class="columns">
            <Snippet title="The client asked for" text={written(data.setup_asked, 'nothing yet')} />
            <Snippet title="In effect upstream" text={written(data.setup_effective, 'as asked')} />
          </div>
        </>
      )}
    </Look>
  );
}

const written = (setup: unknown, none: string) => (setup ? JSON.stringify(setup, null, 2) : none);

function EndSession({ session, onClose, onDone }: { session: Session; onClose: () => void; onDone: () => void }) {
  const end = useAction(async () => {
    await call('POST', `/sessions/${encodeURIComponent(session.id)}/end`, { body: {} });
    toast('The session is ended.');
    onClose();
    onDone();
  });
  return (
    <Confirm title="End this session?" confirm="End it" action={end} onClose={onClose}>
      <p class="break">
        The connection from {session.client} on {session.route} is closed. Its credential stays good: the client may
        connect again. To keep it out, revoke the credential.
      </p>
    </Confirm>
  );
}
