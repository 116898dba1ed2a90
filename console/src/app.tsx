// The console as a whole: who is not signed in sees the door, everybody else the screens and the way between them.

import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { isSignedOut, type Problem, problemFrom } from './api/client.ts';
import { match, place } from './routing.tsx';
import { AuditScreen } from './screens/audit.tsx';
import { ClaimScreen } from './screens/claim.tsx';
import { KeyScreen } from './screens/key.tsx';
import { ImportKeysScreen } from './screens/key-import.tsx';
import { NewKeyScreen } from './screens/key-new.tsx';
import { KeysScreen } from './screens/keys.tsx';
import { NotFound } from './screens/not-found.tsx';
import { OverviewScreen } from './screens/overview.tsx';
import { PeopleScreen } from './screens/people.tsx';
import { RedactionScreen } from './screens/redaction.tsx';
import { RouteScreen } from './screens/route.tsx';
import { RoutesScreen } from './screens/routes.tsx';
import { SessionsScreen } from './screens/sessions.tsx';
import { SignInScreen } from './screens/sign-in.tsx';
import { TokensScreen } from './screens/tokens.tsx';
import { TrafficScreen } from './screens/traffic.tsx';
import { UpstreamScreen } from './screens/upstream.tsx';
import { Shell } from './shell.tsx';
import { me, whoAmI } from './session.ts';
import { Loading, ProblemNotice } from './ui/notice.tsx';
import { Toasts } from './ui/toast.tsx';

/** What a screen is given: the variable parts of its address. */
export interface ScreenProps {
  parts: string[];
}

const SCREENS: readonly (readonly [string, ComponentType<ScreenProps>])[] = [
  ['/', OverviewScreen],
  ['/keys', KeysScreen],
  ['/keys/new', NewKeyScreen],
  ['/keys/import', ImportKeysScreen],
  ['/keys/:', KeyScreen],
  ['/traffic', TrafficScreen],
  ['/tokens', TokensScreen],
  ['/sessions', SessionsScreen],
  ['/routes', RoutesScreen],
  ['/routes/:', RouteScreen],
  ['/upstreams/:', UpstreamScreen],
  ['/audit', AuditScreen],
  ['/redaction', RedactionScreen],
  ['/people', PeopleScreen],
];

export function App({ claim }: { claim: string | undefined }) {
  const [isClaiming, setClaiming] = useState(claim !== undefined);
  const [problem, setProblem] = useState<Problem>();
  const load = () => {
    setProblem(undefined);
    whoAmI().catch((error: unknown) => {
      setProblem(problemFrom(error));
    });
  };
  useEffect(load, []);

  return (
    <>
      {isClaiming && claim !== undefined ? (
        <ClaimScreen
          claim={claim}
          onDone={() => {
            setClaiming(false);
          }}
        />
      ) : problem ? (
        <main class="door">
          <ProblemNotice problem={problem} onRetry={load} />
        </main>
      ) : me.value === undefined ? (
        <main class="door">
          <Loading what="the console" />
        </main>
      ) : me.value === null || isSignedOut.value ? (
        <SignInScreen isAgain={isSignedOut.value} />
      ) : (
        <Shell>
          <Screen />
        </Shell>
      )}
      <Toasts />
    </>
  );
}

function Screen() {
  const { path } = place.value;
  for (const [pattern, Component] of SCREENS) {
    const parts = match(pattern, path);
    // Another thing is another screen: nothing of the last one stays, a key that was just made least of all.
    if (parts) return <Component key={path} parts={parts} />;
  }
  return <NotFound />;
}
