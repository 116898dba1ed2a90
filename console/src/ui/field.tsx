// Inputs with their label, their hint and what is wrong with them, tied together for those who cannot see that they are close.

import type { ComponentChildren, InputHTMLAttributes } from 'preact';
import { useId } from 'preact/hooks';

interface FieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  hint?: ComponentChildren;
  error?: string | undefined;
  type?: 'text' | 'password' | 'number' | 'datetime-local' | 'date' | 'search';
  autoComplete?: string;
  placeholder?: string;
  required?: boolean;
  autoFocus?: boolean;
  min?: number | string;
  multiline?: boolean;
  rows?: number;
}

export function Field(props: FieldProps) {
  const id = useId();
  const { label, value, onInput, hint, error, type = 'text', multiline, rows, autoFocus, ...rest } = props;
  const described = [hint !== undefined && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ');
  const shared = {
    id,
    value,
    class: 'input',
    spellcheck: false,
    'aria-describedby': described || undefined,
    'aria-invalid': error ? true : undefined,
    autofocus: autoFocus ?? false,
    autocomplete: rest.autoComplete ?? 'off',
    placeholder: rest.placeholder,
    required: rest.required ?? false,
    onInput: (event: { currentTarget: { value: string } }) => {
      onInput(event.currentTarget.value);
    },
  };
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {hint !== undefined && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {multiline ? (
        <textarea {...shared} rows={rows ?? 6} />
      ) : (
        <input {...({ ...shared, type, min: rest.min } as InputHTMLAttributes)} />
      )}
      {error && (
        <p class="error" id={`${id}-error`}>
          {error}
        </p>
      )}
    </div>
  );
}

interface SelectProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
  hint?: string;
  isLabelHidden?: boolean;
}

export function Select<T extends string>({ label, value, options, onChange, hint, isLabelHidden }: SelectProps<T>) {
  const id = useId();
  return (
    <div class="field">
      <label for={id} class={isLabelHidden ? 'hidden' : undefined}>
        {label}
      </label>
      {hint !== undefined && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      <select
        id={id}
        class="input"
        value={value}
        aria-describedby={hint === undefined ? undefined : `${id}-hint`}
        onChange={(event) => {
          const found = options.find(([option]) => option === event.currentTarget.value);
          if (found) onChange(found[0]);
        }}
      >
        {options.map(([option, text]) => (
          <option key={option} value={option}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}

interface ChecksProps {
  legend: string;
  options: readonly (readonly [string, string])[];
  chosen: readonly string[];
  onChange: (chosen: string[]) => void;
  hint?: string;
}

/** Several of some. */
export function Checks({ legend, options, chosen, onChange, hint }: ChecksProps) {
  const id = useId();
  return (
    <fieldset aria-describedby={hint === undefined ? undefined : `${id}-hint`}>
      <legend>{legend}</legend>
      {hint !== undefined && (
        <p class="soft small" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      <div class="checks">
        {options.map(([option, text]) => (
          <label class="check" key={option}>
            <input
              type="checkbox"
              checked={chosen.includes(option)}
              onChange={({ currentTarget }) => {
                const rest = chosen.filter((known) => known !== option);
                onChange(currentTarget.checked ? [...rest, option] : rest);
              }}
            />
            {text}
          </label>
        ))}
      </div>
    </fieldset>
  );
}
