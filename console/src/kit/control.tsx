/** Buttons, fields and dialogs: React Aria's, with our classes. */
import { useId, type ReactNode } from "react";
import * as Aria from "react-aria-components";
import type { Problem } from "../api/problem";

type ButtonProps = Aria.ButtonProps & { look?: "plain" | "primary" | "danger" | "quiet" };

export function Button({ look = "plain", ...rest }: ButtonProps) {
  return <Aria.Button {...rest} className={`button ${look}`} />;
}

type FieldProps = Aria.TextFieldProps & {
  label: string;
  hint?: ReactNode;
  rows?: number;
  placeholder?: string;
  code?: boolean;
  fault?: string | null | undefined;
};

export function Field({ label, hint, rows, placeholder, code, fault, ...rest }: FieldProps) {
  const look = code ? "input code" : "input";
  return (
    <Aria.TextField {...rest} isInvalid={Boolean(fault)} className="field">
      <Aria.Label>{label}</Aria.Label>
      {rows === undefined ? (
        <Aria.Input className={look} placeholder={placeholder} spellCheck={!code} />
      ) : (
        <Aria.TextArea className={look} rows={rows} placeholder={placeholder} spellCheck={false} dir="auto" />
      )}
      {hint !== undefined && (
        <Aria.Text slot="description" className="hint">
          {hint}
        </Aria.Text>
      )}
      <Aria.FieldError className="fault">{fault}</Aria.FieldError>
    </Aria.TextField>
  );
}

type ChoiceProps<T extends string> = {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
  hint?: string | undefined;
  fault?: string | undefined;
  isRequired?: boolean;
};

/** One of a few, with the browser's own control. */
export function Choice<T extends string>({ label, value, options, onChange, hint, fault, isRequired }: ChoiceProps<T>) {
  const id = useId();
  const about = [hint && `${id}-hint`, fault && `${id}-fault`].filter(Boolean).join(" ");
  return (
    <div className="field" data-required={isRequired || undefined}>
      <label htmlFor={id}>{label}</label>
      <select
        id={id}
        className="input"
        value={value}
        required={isRequired}
        aria-invalid={fault ? true : undefined}
        aria-describedby={about || undefined}
        onChange={(event) => onChange(event.target.value as T)}
      >
        {options.map(([key, text]) => (
          <option key={key} value={key}>
            {text}
          </option>
        ))}
      </select>
      {hint && (
        <span id={`${id}-hint`} className="hint">
          {hint}
        </span>
      )}
      {fault && (
        <span id={`${id}-fault`} className="fault">
          {fault}
        </span>
      )}
    </div>
  );
}

type CheckProps = { isSelected: boolean; isDisabled?: boolean; onChange: (isSelected: boolean) => void; children: ReactNode };

/** Yes or no, with the browser's own control. */
export function Check({ isSelected, isDisabled, onChange, children }: CheckProps) {
  return (
    <label className="check">
      <input type="checkbox" checked={isSelected} disabled={isDisabled} onChange={(event) => onChange(event.target.checked)} />
      <span>{children}</span>
    </label>
  );
}

type DialogProps = {
  title: string;
  isOpen: boolean;
  onClose: () => void;
  children: ReactNode;
  wide?: boolean;
  /** Stays when one clicks beside it or presses Escape. */
  held?: boolean;
};

export function Dialog({ title, isOpen, onClose, children, wide, held = false }: DialogProps) {
  return (
    <Aria.ModalOverlay className="overlay" isOpen={isOpen} onOpenChange={(open) => !open && onClose()} isDismissable={!held} isKeyboardDismissDisabled={held}>
      <Aria.Modal className={wide ? "modal wide" : "modal"}>
        <Aria.Dialog className="dialog">
          <Aria.Heading slot="title">{title}</Aria.Heading>
          {children}
        </Aria.Dialog>
      </Aria.Modal>
    </Aria.ModalOverlay>
  );
}

type SubmitProps = {
  onSubmit: () => void;
  onCancel?: () => void;
  submit: string;
  isBusy: boolean;
  isDisabled?: boolean;
  danger?: boolean;
  problem: Problem | null;
  children?: ReactNode;
};

/** A form with its buttons and, above them, why the last try was refused. */
export function Form({ onSubmit, onCancel, submit, isBusy, isDisabled, danger, problem, children }: SubmitProps) {
  return (
    <form
      className="form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        if (!isBusy && !isDisabled) onSubmit();
      }}
    >
      {children}
      {problem && <Refusal problem={problem} />}
      <div className="buttons">
        {onCancel && (
          <Button look="quiet" onPress={onCancel}>
            Back
          </Button>
        )}
        <Button type="submit" look={danger ? "danger" : "primary"} isDisabled={isDisabled ?? false}>
          {isBusy ? `${submit}…` : submit}
        </Button>
      </div>
    </form>
  );
}

/** Why something was refused, with each fault where it lies. */
export function Refusal({ problem }: { problem: Problem }) {
  return (
    <div className="refusal" role="alert">
      <p>{problem.message}</p>
      {problem.faults.length > 0 && (
        <ul>
          {problem.faults.map((fault) => (
            <li key={`${fault.path} ${fault.code}`}>
              {fault.path && <code>{fault.path}</code>} {fault.message !== problem.message && fault.message}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
