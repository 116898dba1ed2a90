// What is connected right now, what each session asked for and what it got, and the way to end it.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { useAction, usePages } from '../api/query.ts';
import type { Session } from '../api/types.ts';
import { may } from '../session.ts';
import { Page, Tabs } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { CredentialChip } from '../ui/chip.tsx';
import { Confirm } from '../ui/dialog.tsx';
import { EmptyState } from '../ui/notice.tsx';
import { PagedTable } from '../ui/table.tsx';
import { bytes, lasting, now } from '../ui/time.tsx';
import { toast } from '../ui/toast.tsx';
import { CarrierChip, KeyLink } from './parts.tsx';
import { TOKEN_TABS } from './tokens.tsx';

export function SessionsScreen() {
  const pages = usePages<Session>('/sessions', {}, 50, 3000);
  const [ending, setEnding] = useState<Session>();
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
              cell: ({ client, protocol }) => (
                <>
                  {client}
                  <div class="soft small">{protocol}</div>
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
