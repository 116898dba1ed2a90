// What a screen says when something is wrong, when there is nothing, and while it waits.

import type { ComponentChildren } from 'preact';
import type { Problem } from '../api/client.ts';
import { Button } from './button.tsx';

export function Notice({
  tone,
  title,
  children,
}: {
  tone?: 'bad' | 'warn' | 'good';
  title?: string;
  children?: ComponentChildren;
}) {
  return (
    <div class={['notice', tone].filter(Boolean).join(' ')} role={tone === 'bad' ? 'alert' : undefined}>
      <div>
        {title && <p class="strong">{title}</p>}
        {children}
      </div>
    </div>
  );
}

/** What the API said, and what to do next. */
export function ProblemNotice({ problem, onRetry }: { problem: Problem | undefined; onRetry?: () => void }) {
  if (!problem) return null;
  return (
    <Notice tone="bad" title={sentence(problem.title)}>
      <p class="break">{sentence(problem.detail)}</p>
      <p class="soft small">{nextStep(problem)}</p>
      {onRetry && (
        <p class="row">
          <Button small onClick={onRetry}>
            Try again
          </Button>
        </p>
      )}
    </Notice>
  );
}

/** What usually helps, by what the answer was. */
export function nextStep({ status }: Problem): string {
  if (status === 0) return 'If it is running, look at its log; `keymoat doctor` checks the rest.';
  if (status === 401) return 'Sign in again.';
  if (status === 403) return 'Ask somebody whose role allows it, or sign in as another admin.';
  if (status === 404) return 'It may have been removed. Go back to the list and reload it.';
  if (status === 409 || status === 412)
    return 'Somebody else was faster. Reload to see what it is now, then decide again.';
  if (status === 429) return 'Wait a moment, then try again.';
  if (status >= 500) return 'Look at the log of Keymoat; `keymoat doctor` names the usual causes.';
  return 'Change what it names, then send it again.';
}

const sentence = (text: string): string => {
  const big = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(big) ? big : `${big}.`;
};

export function EmptyState({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h3>{title}</h3>
      {children}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <p class="loading" role="status">
      Loads {what} …
    </p>
  );
}
