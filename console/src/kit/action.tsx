/** Small actions that ask first, and secrets that are shown once. */
import { useMutation, useQueryClient, type QueryKey } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import type { Problem } from "../api/problem";
import { Button, Choice, Dialog, Form } from "./control";
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

const OVERLAPS = [
  ["86400", "for 24 hours more"],
  ["3600", "for an hour more"],
  ["604800", "for 7 days more"],
  ["0", "no more"],
] as const;

type RotateProps = {
  /** What gets a new secret, in a title. */
  of: string;
  isDisabled: boolean;
  /** Answers the new secret; null where the sender made it and it was given. */
  run: (overlapSeconds: number) => Promise<string | null>;
  changes: readonly QueryKey[];
  children?: ReactNode;
  /** Beside the secret, once. */
  beside?: (secret: string) => ReactNode;
};

/** Gives a new secret; the one before is valid for a while, so that nothing is refused meanwhile. */
export function RotateSecret({ of, isDisabled, run, changes, children, beside }: RotateProps) {
  const client = useQueryClient();
  const [isOpen, setOpen] = useState(false);
  const [overlap, setOverlap] = useState<(typeof OVERLAPS)[number][0]>("86400");
  const close = () => {
    setOpen(false);
    rotate.reset();
  };
  const rotate = useMutation<string | null, Problem>({
    mutationFn: () => run(Number(overlap)),
    onSuccess: (secret) => secret === null && close(),
    onSettled: () => Promise.all(changes.map((queryKey) => client.invalidateQueries({ queryKey }))),
  });
  return (
    <>
      <Button isDisabled={isDisabled} onPress={() => setOpen(true)}>
        New secret…
      </Button>
      <Dialog title={`A new secret for ${of}`} isOpen={isOpen} onClose={close} wide>
        {rotate.data ? (
          <SecretOnce label="Secret" secret={rotate.data} close={close}>
            {beside?.(rotate.data)}
          </SecretOnce>
        ) : (
          <Form submit="Make one" isBusy={rotate.isPending} problem={rotate.error} onSubmit={() => rotate.mutate()} onCancel={close}>
            {children}
            <Choice label="The one before is valid" value={overlap} options={OVERLAPS} onChange={setOverlap} />
          </Form>
        )}
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
