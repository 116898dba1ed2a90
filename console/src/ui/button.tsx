// Buttons.

import type { ComponentChildren } from 'preact';
import { Icon, type IconName } from './icon.tsx';

interface ButtonProps {
  children: ComponentChildren;
  onClick?: () => void;
  type?: 'button' | 'submit';
  /** What it is for: one primary act of a place, one that cannot be taken back, one that stays in the background. */
  look?: 'primary' | 'danger' | 'danger primary' | 'plain';
  small?: boolean;
  icon?: IconName;
  disabled?: boolean;
  label?: string;
  pressed?: boolean;
  expanded?: boolean;
  controls?: string;
}

export function Button({ children, onClick, type = 'button', look, small, icon, disabled, ...rest }: ButtonProps) {
  const { label, pressed, expanded, controls } = rest;
  return (
    <button
      type={type}
      class={['button', look, small && 'small'].filter(Boolean).join(' ')}
      disabled={disabled ?? false}
      aria-label={label}
      aria-pressed={pressed}
      aria-expanded={expanded}
      aria-controls={controls}
      onClick={onClick}
    >
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}
