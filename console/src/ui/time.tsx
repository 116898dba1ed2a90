// Moments and lengths of time, in words that stay true while one looks at them.

import { signal } from '@preact/signals';

/** The clock of the page, for everything that says "3 minutes ago". */
export const now = signal(Date.now());
setInterval(() => {
  now.value = Date.now();
}, 10_000);

const STEPS: readonly (readonly [number, Intl.RelativeTimeFormatUnit])[] = [
  [60, 'second'],
  [3600, 'minute'],
  [86_400, 'hour'],
  [86_400 * 60, 'day'],
  [86_400 * 730, 'month'],
  [Infinity, 'year'],
];
const SIZE: Partial<Record<Intl.RelativeTimeFormatUnit, number>> = {
  second: 1,
  minute: 60,
  hour: 3600,
  day: 86_400,
  month: 86_400 * 30,
  year: 86_400 * 365,
};
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'short' });
const exact = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium', timeZone: 'UTC' });
const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeZone: 'UTC' });
const clock = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });

/** "3 min. ago", "in 2 days", "just now". */
export function fromNow(at: string, from: number): string {
  const seconds = (Date.parse(at) - from) / 1000;
  if (!Number.isFinite(seconds)) return 'unknown';
  if (Math.abs(seconds) < 10) return 'just now';
  const [, unit] = STEPS.find(([limit]) => Math.abs(seconds) < limit) ?? [0, 'year'];
  return relative.format(Math.trunc(seconds / (SIZE[unit] ?? 1)), unit);
}

/** A moment, as long ago or far off; the exact one on hovering. */
export function Ago({ at, never = 'never' }: { at: string | null | undefined; never?: string }) {
  if (!at) return <span class="soft">{never}</span>;
  return (
    <time dateTime={at} title={exactly(at)} class="nowrap">
      {fromNow(at, now.value)}
    </time>
  );
}

/** A moment as a date and time in UTC. */
export function At({ at }: { at: string }) {
  return <time dateTime={at}>{exactly(at)}</time>;
}

/** The time of day, where the date is plain. */
export function Clock({ at }: { at: string }) {
  return (
    <time dateTime={at} title={exactly(at)}>
      {clock.format(Date.parse(at) || 0)}
    </time>
  );
}

export const exactly = (at: string): string => {
  const time = Date.parse(at);
  return Number.isNaN(time) ? at : `${exact.format(time)} UTC`;
};

export const onDay = (at: string): string => {
  const time = Date.parse(at);
  return Number.isNaN(time) ? at : day.format(time);
};

/** "4 min 10 s" of seconds. */
export function lasting(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'min'],
    [whole % 60, 's'],
  ];
  const shown = parts.filter(([count]) => count > 0).slice(0, 2);
  return shown.map(([count, unit]) => `${String(count)} ${unit}`).join(' ') || '0 s';
}

const counted = new Intl.NumberFormat('en');
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export const count = (number: number): string => counted.format(number);
export const compact = (number: number): string => short.format(number);

/** "1 key", "2 keys". */
export const plural = (number: number, one: string, many = `${one}s`): string =>
  `${count(number)} ${number === 1 ? one : many}`;

/** "3.1 MB". */
export function bytes(number: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = number;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 ? String(size) : size.toFixed(size < 10 ? 1 : 0)} ${units[unit] ?? ''}`;
}
