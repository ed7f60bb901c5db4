/** Small actions that ask first, and secrets that are shown once. */
import { useMutation, useQueryClient, type QueryKey } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import type { Problem } from "../api/problem";
import { Button, Dialog, Form } from "./control";
import { Copy } from "./text";

type ConfirmProps = {
  label: string;
  name?: string;
  title: string;
  submit: string;
  danger?: boolean;
  look?: "plain" | "quiet";
  isDisabled?: boolean;
  children: ReactNode;
  run: () => Promise<unknown>;
  changes: readonly QueryKey[];
  /** After it was done, beside closing. */
  then?: () => void;
};

/** A button that says what it will do, and does it when that is confirmed. `name`: of the button, where many are alike. */
export function Confirm({ label, name, title, submit, danger, look = "plain", isDisabled, children, run, changes, then }: ConfirmProps) {
  const client = useQueryClient();
  const [isOpen, setOpen] = useState(false);
  const act = useMutation<unknown, Problem>({
    mutationFn: run,
    onSuccess: () => {
      setOpen(false);
      then?.();
    },
    onSettled: () => Promise.all(changes.map((queryKey) => client.invalidateQueries({ queryKey }))),
  });
  const open = () => {
    act.reset();
    setOpen(true);
  };
  return (
    <>
      <Button look={look} isDisabled={isDisabled ?? false} onPress={open} {...(name ? { "aria-label": name } : {})}>
        {label}
      </Button>
      <Dialog title={title} isOpen={isOpen} onClose={() => setOpen(false)}>
        <Form submit={submit} danger={danger ?? false} isBusy={act.isPending} problem={act.error} onSubmit={() => act.mutate()} onCancel={() => setOpen(false)}>
          {children}
        </Form>
      </Dialog>
    </>
  );
}

/** A secret that nobody will be shown again. */
export function SecretOnce({ label, secret, close, children }: { label: string; secret: string; close: () => void; children?: ReactNode }) {
  return (
    <>
      <p>It is shown this once and kept by nobody: put it where it is needed before you close this.</p>
      <pre className="code" tabIndex={0} aria-label={label}>
        {secret}
      </pre>
      {children}
      <div className="buttons end">
        <Copy text={secret} look="plain" />
        <Button look="primary" onPress={close}>
          I have it
        </Button>
      </div>
    </>
  );
}
