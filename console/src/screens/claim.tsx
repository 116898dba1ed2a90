// The first visit: whoever has the one-time link chooses a name and a password, and is the first admin.

import { useState } from 'preact/hooks';
import { call } from '../api/client.ts';
import { useAction } from '../api/query.ts';
import type { Me } from '../api/types.ts';
import { welcome } from '../session.ts';
import { Logo } from '../shell.tsx';
import { Button } from '../ui/button.tsx';
import { Field } from '../ui/field.tsx';
import { ProblemNotice } from '../ui/notice.tsx';

export const PASSWORD_CHARS_MIN = 12;

export function ClaimScreen({ claim, onDone }: { claim: string; onDone: () => void }) {
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [again, setAgain] = useState('');
  const claiming = useAction(async () => {
    const me = await call<Me>('POST', '/claim', { body: { claim, name: name.trim(), password } });
    setPassword('');
    setAgain('');
    welcome(me);
    onDone();
  });
  const isShort = password !== '' && Array.from(password).length < PASSWORD_CHARS_MIN;
  const differs = again !== '' && again !== password;
  const isReady = name.trim() !== '' && password !== '' && !isShort && again === password;
  return (
    <main class="door">
      <Logo />
      <h1>Claim this Keymoat</h1>
      <p class="soft">
        You opened the one-time link. Choose a name and a password: you will be the first admin, and the link will not
        work again.
      </p>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (isReady) void claiming.run();
        }}
      >
        <Field label="Name" value={name} onInput={setName} autoComplete="username" required autoFocus />
        <Field
          label="Password"
          type="password"
          value={password}
          onInput={setPassword}
          autoComplete="new-password"
          hint={`At least ${PASSWORD_CHARS_MIN} characters; a sentence is easy to remember.`}
          error={isShort ? `It is shorter than ${PASSWORD_CHARS_MIN} characters.` : undefined}
          required
        />
        <Field
          label="Password again"
          type="password"
          value={again}
          onInput={setAgain}
          autoComplete="new-password"
          error={differs ? 'The two are not the same.' : undefined}
          required
        />
        <ProblemNotice problem={claiming.problem} />
        <div class="row">
          <Button type="submit" look="primary" disabled={!isReady || claiming.isRunning}>
            Claim
          </Button>
          <Button look="plain" onClick={onDone}>
            I have an account
          </Button>
        </div>
      </form>
    </main>
  );
}
