/** What is done to many jobs at once: a button, a dialog in which they are counted first, and the numbers of the count. */
import { useState, type ReactNode } from "react";
import { Button, Dialog } from "../kit/control";
import { count, Foreign, plural } from "../kit/text";
import type { Counted } from "./selection";

const FUNCTIONS_SHOWN = 12;

type Props = { label: string; title: string; isDisabled?: boolean; children: (close: () => void, hold: (held: boolean) => void) => ReactNode };

/** While its content holds the dialog, only the content closes it. */
export function ForMany({ label, title, isDisabled = false, children }: Props) {
  const [isOpen, setOpen] = useState(false);
  const [held, hold] = useState(false);
  const close = () => {
    setOpen(false);
    hold(false);
  };
  return (
    <>
      <Button isDisabled={isDisabled} onPress={() => setOpen(true)}>
        {label}
      </Button>
      <Dialog title={title} isOpen={isOpen} onClose={close} held={held}>
        {children(close, hold)}
      </Dialog>
    </>
  );
}

/** Of a count: `noun` and `verb` go with how many there are, `then` says what becomes of them. */
export function Tally({ counted, one, many, then }: { counted: Counted; one: string; many: string; then: string }) {
  const { matched, more, by_function: functions, by_state: states } = counted;
  const names = Object.entries(functions).sort(([, a], [, b]) => b - a);
  return (
    <>
      <p>
        {plural(matched, one, many)} these filters{more && "; more are older, and stay as they are"}. {then}
      </p>
      <ul className="rows">
        {names.slice(0, FUNCTIONS_SHOWN).map(([name, number]) => (
          <li key={name}>
            <Foreign>{name}</Foreign> <span>{count(number)}</span>
          </li>
        ))}
        {names.length > FUNCTIONS_SHOWN && <li className="hint">and {plural(names.length - FUNCTIONS_SHOWN, "function")} more</li>}
      </ul>
      <p className="hint">
        {Object.entries(states)
          .map(([state, number]) => `${count(number)} ${state.replace("_", " ")}`)
          .join(", ")}
      </p>
    </>
  );
}
