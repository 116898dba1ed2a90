// The door for whoever has a password.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { useAction } from '../api/query.ts';
import type { Me } from '../api/types.ts';
import { welcome } from '../session.ts';
import { Logo } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { Field } from '../ui/field.tsx';
import { Notice, ProblemNotice } from '../ui/notice.tsx';

export function SignInScreen({ isAgain }: { isAgain: boolean }) {
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const signIn = useAction(async () => {
    const me = await call<Me>('POST', '/sign-in', { body: { name: name.trim(), password } });
    setPassword('');
    welcome(me);
  });
  return (
    <main class="door">
      <Logo />
      <h1>Sign in to Keymoat</h1>
      {isAgain && !signIn.problem && <Notice tone="warn">Your session has ended. Sign in again to go on.</Notice>}
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          void signIn.run();
        }}
      >
        <Field label="Name" value={name} onInput={setName} autoComplete="username" required autoFocus />
        <Field
          label="Password"
          type="password"
          value={password}
          onInput={setPassword}
          autoComplete="current-password"
          required
        />
        <ProblemNotice problem={signIn.problem} />
        <div class="row">
          <Button type="submit" look="primary" disabled={signIn.isRunning || !name.trim() || !password}>
            Sign in
          </Button>
        </div>
      </form>
      <p class="soft small">
        First time here? <code>keymoat serve</code> prints a one-time link to claim this console. Later an admin makes
        more accounts under People.
      </p>
    </main>
  );
}
