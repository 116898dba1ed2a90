// A question that has to be answered before anything else: the browser's own dialog keeps the focus in it and gives it back.

import type { ComponentChildren } from 'preact';
import { useId, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { Action } from '../api/query.ts';
import { Button } from './button.tsx';
import { Field } from './field.tsx';
import { ProblemNotice } from './notice.tsx';

interface DialogProps {
  title: string;
  children: ComponentChildren;
  onClose: () => void;
}

export function Dialog({ title, children, onClose }: DialogProps) {
  const id = useId();
  const frame = useRef<HTMLDialogElement>(null);
  // Not `useEffect`: that is undone only after the next paint, and a key that is pressed until then goes nowhere.
  useLayoutEffect(() => {
    const dialog = frame.current;
    const opener = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    return () => {
      dialog?.close();
      // The browser gives the focus back only to what it still sees: the dialog is gone by then.
      queueMicrotask(() => {
        if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
      });
    };
  }, []);
  return (
    <dialog
      ref={frame}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === frame.current) onClose();
      }}
    >
      <div class="dialog-inside">
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

/** Something to look at, and to close again. */
export function Look({ title, children, onClose }: DialogProps) {
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      <footer>
        <Button onClick={onClose}>Close</Button>
      </footer>
    </Dialog>
  );
}

interface ConfirmProps {
  title: string;
  children: ComponentChildren;
  /** The verb on the button. */
  confirm: string;
  look?: 'primary' | 'danger primary';
  /** What has to be typed first, for what cannot be taken back. */
  typed?: string;
  action: Action<[]>;
  onClose: () => void;
}

/** Asks before something is done, and shows why it failed. */
export function Confirm({ title, children, confirm, look = 'danger primary', typed, action, onClose }: ConfirmProps) {
  const [text, setText] = useState('');
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        class="stack plain-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (typed === undefined || text.trim() === typed) void action.run();
        }}
      >
        {children}
        {typed !== undefined && <Field label={`Type ${typed} to confirm`} value={text} onInput={setText} autoFocus />}
        <ProblemNotice problem={action.problem} />
        <footer>
          <Button onClick={onClose}>Cancel</Button>
          <Button
            type="submit"
            look={look}
            disabled={action.isRunning || (typed !== undefined && text.trim() !== typed)}
          >
            {confirm}
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}
