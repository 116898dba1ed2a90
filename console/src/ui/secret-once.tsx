// A credential that is shown once. It lives in the state of one screen, and goes when the screen or the page does.

import { useEffect, useState } from 'preact/hooks';
import { Button } from './button.tsx';
import { CopyButton } from './snippet.tsx';

interface SecretOnceProps {
  what: string;
  secret: string;
  /** Forgets it. */
  onGone: () => void;
}

export function SecretOnce({ what, secret, onGone }: SecretOnceProps) {
  const [isShown, setShown] = useState(false);
  useEffect(() => {
    // A page that the browser keeps for the way back must not hold it.
    const forget = () => {
      onGone();
    };
    addEventListener('pagehide', forget);
    return () => {
      removeEventListener('pagehide', forget);
    };
  }, [onGone]);
  return (
    <div class="secret-once" role="group" aria-label={`The new ${what}`}>
      <p class="strong">Copy the {what} now: it is shown this once.</p>
      <output aria-label={isShown ? what : `${what}, hidden`}>{isShown ? secret : '•'.repeat(24)}</output>
      <div class="row">
        <CopyButton text={secret} label={`Copy the ${what}`} />
        <Button
          small
          look="plain"
          pressed={isShown}
          onClick={() => {
            setShown(!isShown);
          }}
        >
          {isShown ? 'Hide it' : 'Show it'}
        </Button>
        <Button small look="plain" onClick={onGone}>
          I have it
        </Button>
      </div>
      <p class="soft small">
        It is gone from here when you leave this screen. Keymoat keeps a digest of it and cannot show it again.
      </p>
    </div>
  );
}
