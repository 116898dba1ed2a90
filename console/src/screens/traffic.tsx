// Requests as they happen. The stream is kept beside the screen and drawn a few times a second, however fast it runs.

import { useMemo, useRef, useState } from 'preact/hooks';
import { useEffect } from 'preact/hooks';
import type { Event } from '../api/types.ts';
import { place, refine } from '../routing.tsx';
import { Page } from '../shell.tsx';
import { EVENT_STREAM, streamTokens } from '../stream.ts';
import { Button } from '../ui/button.tsx';
import { CredentialChip } from '../ui/chip.tsx';
import { Field, Select } from '../ui/field.tsx';
import { EmptyState, Notice } from '../ui/notice.tsx';
import { bytes, Clock, count, plural } from '../ui/time.tsx';
import { kindOf } from '../words.ts';
import { useEventStream } from 'keymoat/react';
import { ending } from './event-columns.tsx';
import { CarrierChip, KeyLink, OutcomeChip, ProtocolChip } from './parts.tsx';

const KEPT_MAX = 1000;
const SHOWN_MAX = 200;
const DRAWN_EVERY_MS = 300;

/** A place in the stream where numbers are missing. */
interface Gap {
  after: number;
  missing: number;
}

const isGap = (line: Event | Gap): line is Gap => 'missing' in line;

export function TrafficScreen() {
  const { query } = place.value;
  const [isPaused, setPaused] = useState(false);
  const [, draw] = useState(0);
  // Newest first; `fresh` is what came since it was drawn last.
  const kept = useRef<(Event | Gap)[]>([]);
  const last = useRef<number>(undefined);
  const fresh = useRef(0);
  const drawn = useRef(0);

  const take = (message: unknown): undefined => {
    const gap = gapOf(message);
    if (gap) {
      kept.current.unshift(gap);
      last.current = gap.after + gap.missing;
      return;
    }
    const event = eventOf(message);
    if (!event) return;
    if (last.current !== undefined && event.seq > last.current + 1) {
      kept.current.unshift({ after: last.current, missing: event.seq - last.current - 1 });
    }
    last.current = event.seq;
    // Who did what is in the audit; a request is told of when it has ended.
    if (event.outcome === undefined) return;
    kept.current.unshift(event);
    kept.current.length = Math.min(kept.current.length, KEPT_MAX);
    fresh.current++;
  };
  const stream = useEventStream(EVENT_STREAM, { token: streamTokens, select: take });
  useEffect(() => {
    const timer = setInterval(() => {
      if (fresh.current !== drawn.current) draw((turn) => turn + 1);
    }, DRAWN_EVERY_MS);
    return () => {
      clearInterval(timer);
    };
  }, []);

  const frozen = useRef<readonly (Event | Gap)[]>([]);
  if (!isPaused) {
    frozen.current = [...kept.current];
    fresh.current = 0;
  }
  drawn.current = fresh.current;
  const filter = {
    text: query.get('text') ?? '',
    outcome: query.get('outcome') ?? '',
    carrier: query.get('carrier') ?? '',
  };
  const shown = useMemo(
    () => frozen.current.filter((line) => isGap(line) || matches(line, filter)).slice(0, SHOWN_MAX),
    [frozen.current, filter.text, filter.outcome, filter.carrier],
  );
  const isFiltered = Object.values(filter).some(Boolean);

  return (
    <Page
      title="Live traffic"
      about="Requests and sessions as they end. Credentials are shown as what they are, never as their text."
      actions={
        <>
          <span
            class={`pulse ${{ open: 'is-open', unauthorized: 'is-broken', closed: 'is-broken' }[stream.state as string] ?? ''}`}
            role="status"
          >
            {STATES[stream.state]}
          </span>
          <Button
            icon={isPaused ? 'play' : 'pause'}
            pressed={isPaused}
            onClick={() => {
              setPaused(!isPaused);
            }}
          >
            {isPaused ? `Go on${fresh.current > 0 ? ` (${count(fresh.current)} new)` : ''}` : 'Pause'}
          </Button>
          <Button
            onClick={() => {
              kept.current = [];
              frozen.current = [];
              draw((turn) => turn + 1);
            }}
          >
            Clear
          </Button>
        </>
      }
    >
      {(stream.state === 'closed' || stream.state === 'unauthorized') && (
        <Notice tone="bad" title="The stream has ended">
          <p>{stream.error?.message ?? 'Keymoat closed it.'}</p>
          <p class="row">
            <Button
              small
              onClick={() => {
                stream.reconnect();
              }}
            >
              Connect again
            </Button>
          </p>
        </Notice>
      )}
      <section class="card" aria-label="Requests">
        <div class="inside filters">
          <Field
            label="Filter"
            type="search"
            value={filter.text}
            placeholder="path, route, key, address, code"
            onInput={(text) => {
              refine({ text });
            }}
          />
          <Select
            label="Outcome"
            value={filter.outcome}
            options={[
              ['', 'All'],
              ['allowed', 'Allowed'],
              ['refused', 'Refused'],
              ['failed', 'Failed'],
              ['aborted', 'Aborted'],
            ]}
            onChange={(outcome) => {
              refine({ outcome });
            }}
          />
          <Select
            label="Credential in"
            value={filter.carrier}
            options={[
              ['', 'Anywhere'],
              ['header', 'Header'],
              ['subprotocol', 'Subprotocol'],
              ['message', 'First message'],
              ['query', 'URL query'],
            ]}
            onChange={(carrier) => {
              refine({ carrier });
            }}
          />
        </div>
        <p class="inside small soft" aria-hidden="true">
          {isPaused ? 'Paused. ' : ''}
          {plural(shown.length, 'line')} shown, {plural(frozen.current.length, 'line')} kept in this window.
        </p>
        {shown.length === 0 ? (
          <EmptyState title={isFiltered ? 'Nothing matches yet' : 'Waiting for requests'}>
            <p>
              {isFiltered
                ? 'Lines that match show here as they come.'
                : 'Send one through the gateway: it shows here as soon as it has ended.'}
            </p>
          </EmptyState>
        ) : (
          <ul class="stream" aria-label="Requests, newest first">
            {shown.map((line) =>
              isGap(line) ? (
                <li key={`gap-${line.after}`} class="gap-note">
                  {plural(line.missing, 'event')} missing here: this window could not keep up. All of them are in the
                  list of events.
                </li>
              ) : (
                <Line key={line.seq} event={line} />
              ),
            )}
          </ul>
        )}
      </section>
    </Page>
  );
}

const STATES = {
  connecting: 'Connecting …',
  open: 'Live',
  waiting: 'Connection lost, comes back …',
  unauthorized: 'Not allowed',
  closed: 'Ended',
} as const;

function Line({ event }: { event: Event }) {
  const offered = event.protocols_offered ?? [];
  return (
    <li>
      <span class="soft small">
        <Clock at={event.timestamp} />
      </span>
      <span>
        <OutcomeChip outcome={event.outcome ?? event.type} />
      </span>
      <span>
        <span class="mono break">
          {event.protocol === 'websocket' ? 'WS' : (event.method ?? event.type)} {event.path ?? ''}
        </span>
        <br />
        <span class="small soft break">
          {[event.route && `route ${event.route}`, event.client, event.origin, event.user_agent]
            .filter(Boolean)
            .join(' · ')}
        </span>
      </span>
      <span class="chips">
        {event.carrier && <CarrierChip carrier={event.carrier} />}
        {event.token_id ? (
          <CredentialChip kind="token" name={event.token_id} />
        ) : event.key_id ? (
          <KeyLink id={event.key_id} />
        ) : event.carrier ? (
          <CredentialChip kind="credential" />
        ) : null}
        {offered.map((name, index) => (
          <ProtocolChip key={index} name={name} isChosen={name === event.protocol_chosen} />
        ))}
      </span>
      <span class="small break">
        {ending(event)}
        <br />
        <span class="soft">
          {event.duration_millis === undefined ? '' : `${count(event.duration_millis)} ms`}
          {event.bytes_out ? ` · ${bytes(event.bytes_in ?? 0)} in, ${bytes(event.bytes_out)} out` : ''}
        </span>
      </span>
    </li>
  );
}

/** The place in a message of the stream where it says that it leaves some out. */
function gapOf(message: unknown): Gap | undefined {
  const { type, data } = Object(message) as { type?: unknown; data?: { after?: unknown; next?: unknown } };
  if (type !== 'gap' || typeof data?.after !== 'number' || typeof data.next !== 'number') return;
  return { after: data.after, missing: data.next - data.after - 1 };
}

/** The event in a message of the stream. */
function eventOf(message: unknown): Event | undefined {
  const { type, seq, data } = Object(message) as { type?: unknown; seq?: unknown; data?: Event };
  if (type !== 'event' || !data || typeof data !== 'object') return;
  return { ...data, seq: typeof seq === 'number' ? seq : data.seq };
}

function matches(event: Event, filter: { text: string; outcome: string; carrier: string }): boolean {
  if (filter.outcome && event.outcome !== filter.outcome) return false;
  if (filter.carrier && (!event.carrier || kindOf(event.carrier) !== filter.carrier)) return false;
  const { path, route, client, key_id, token_id, code, user_agent, type } = event;
  const text = [path, route, client, key_id, token_id, code, user_agent, type].join(' ').toLowerCase();
  return filter.text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
