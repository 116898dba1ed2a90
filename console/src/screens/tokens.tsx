// Tokens that were minted: how often and how long each still opens something.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { useAction, usePages } from '../api/query.ts';
import type { Token } from '../api/types.ts';
import { may } from '../session.ts';
import { Page, Tabs } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { Chip, CredentialChip } from '../ui/chip.tsx';
import { Confirm, Look } from '../ui/dialog.tsx';
import { EmptyState } from '../ui/notice.tsx';
import { Snippet } from '../ui/snippet.tsx';
import { PagedTable } from '../ui/table.tsx';
import { Ago, count } from '../ui/time.tsx';
import { toast } from '../ui/toast.tsx';
import { MintToken } from './mint.tsx';
import { KeyLink, ListCard, StateFilter, stateOf } from './parts.tsx';

export const TOKEN_TABS = [
  ['/sessions', 'Live sessions'],
  ['/tokens', 'Tokens'],
] as const;

const STATES = [
  ['', 'All'],
  ['live', 'That open something'],
  ['closed', 'That begin nothing more'],
  ['expired', 'Expired'],
  ['revoked', 'Revoked'],
] as const;

export function TokensScreen() {
  const pages = usePages<Token>('/tokens', { state: stateOf(STATES) });
  const [ending, setEnding] = useState<Token>();
  const [looking, setLooking] = useState<Token>();
  const [isMinting, setMinting] = useState(false);
  return (
    <Page
      title="Tokens"
      about="Short-lived credentials, made from a key for one client."
      actions={
        may('operator') && (
          <Button
            look="primary"
            onClick={() => {
              setMinting(true);
            }}
          >
            Mint a token
          </Button>
        )
      }
    >
      <Tabs label="Tokens and sessions" all={TOKEN_TABS} />
      {isMinting && (
        <MintToken
          onClose={() => {
            setMinting(false);
          }}
          onMinted={pages.reload}
        />
      )}
      <ListCard label="Tokens" filters={<StateFilter states={STATES} />}>
        <PagedTable
          caption="Tokens"
          pages={pages}
          rowKey={({ id }) => id}
          empty={
            <EmptyState title="No tokens">
              <p>Your server mints one for each client that signs in; they show here with the uses that are left.</p>
            </EmptyState>
          }
          columns={[
            { label: 'Token', isHead: true, cell: ({ id }) => <CredentialChip kind="token" name={id} /> },
            { label: 'From key', cell: ({ key_id, key_name }) => <KeyLink id={key_id} name={key_name} /> },
            { label: 'Uses left', cell: (token) => <Uses token={token} /> },
            { label: 'Starts until', cell: ({ start_by }) => <Ago at={start_by} /> },
            { label: 'Lives until', cell: ({ live_until }) => <Ago at={live_until} /> },
            {
              label: 'Only for',
              cell: ({ origins, routes, calls }) => (
                <span class="break">
                  {[
                    ...origins,
                    ...routes.filter((route) => route !== '*').map((route) => `route ${route}`),
                    calls === 'live' && 'WebSockets',
                  ]
                    .filter(Boolean)
                    .join(', ') || '–'}
                </span>
              ),
            },
            { label: 'State', cell: (token) => <TokenState token={token} /> },
            {
              label: 'Actions',
              isBare: true,
              cell: (token) => (
                <div class="row">
                  <Button
                    small
                    label={`Setup of token ${token.id}`}
                    onClick={() => {
                      setLooking(token);
                    }}
                  >
                    Setup
                  </Button>
                  {may('operator') && token.state === 'live' && (
                    <Button
                      small
                      look="danger"
                      label={`Revoke token ${token.id}`}
                      onClick={() => {
                        setEnding(token);
                      }}
                    >
                      Revoke
                    </Button>
                  )}
                </div>
              ),
            },
          ]}
        />
      </ListCard>
      {looking && (
        <Look
          title="What its sessions may ask for"
          onClose={() => {
            setLooking(undefined);
          }}
        >
          <p>What is locked here replaces what a client asks for; the rest of the client’s setup is passed on.</p>
          <Snippet title="Constraints" text={JSON.stringify(looking.constraints, null, 2)} />
        </Look>
      )}
      {ending && (
        <RevokeToken
          token={ending}
          onClose={() => {
            setEnding(undefined);
          }}
          onDone={pages.reload}
        />
      )}
    </Page>
  );
}

function Uses({ token: { uses, uses_left } }: { token: Token }) {
  if (uses == null || uses_left == null) return <span>no limit</span>;
  return (
    <span class="nowrap">
      {count(uses_left)} of {count(uses)}
    </span>
  );
}

function TokenState({ token: { state, uses_left } }: { token: Token }) {
  if (state === 'revoked') return <Chip tone="bad">revoked</Chip>;
  if (state === 'expired') return <Chip>expired</Chip>;
  if (state === 'closed') return <Chip>{uses_left === 0 ? 'used up' : 'begins nothing more'}</Chip>;
  return <Chip tone="good">works</Chip>;
}

function RevokeToken({ token, onClose, onDone }: { token: Token; onClose: () => void; onDone: () => void }) {
  const revoke = useAction(async () => {
    await call('POST', `/tokens/${encodeURIComponent(token.id)}/revoke`);
    toast('The token is revoked.');
    onClose();
    onDone();
  });
  return (
    <Confirm title="Revoke this token?" confirm="Revoke" action={revoke} onClose={onClose}>
      <p>
        <CredentialChip kind="token" name={token.id} /> opens nothing from the next second on, and its live sessions are
        closed.
      </p>
    </Confirm>
  );
}
