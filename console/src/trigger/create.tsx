/** Making a trigger: a schedule or a webhook. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, body, E, onceKey, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { SecretOnce } from "../kit/action";
import { Button, Choice, Dialog } from "../kit/control";
import { commonOf, NEW, settingsOf, type Draft } from "./draft";
import { TriggerForm } from "./form";
import type { NewTrigger, Trigger } from "./model";
import { senderOf } from "./sender";

const KINDS = [
  ["schedule", "by a schedule"],
  ["webhook", "by a webhook"],
] as const;

export function Create({ place }: { place: Place }) {
  const [isOpen, setOpen] = useState(false);
  const may = useMay(place, "OperateEnvironment");
  const close = () => setOpen(false);
  return (
    <>
      <Button look="primary" isDisabled={!may.allowed} onPress={() => setOpen(true)}>
        New trigger…
      </Button>
      <Dialog title="New trigger" isOpen={isOpen} onClose={close} wide>
        <Steps place={place} close={close} />
      </Dialog>
    </>
  );
}

function Steps({ place, close }: { place: Place; close: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [once] = useState(onceKey);
  const [draft, setDraft] = useState<Draft>(NEW);
  const make = useMutation<Trigger, Problem>({
    mutationFn: async () => {
      const secret = draft.kind === "webhook" && draft.secret ? { secret: draft.secret } : {};
      const given = { kind: draft.kind, ...commonOf(draft), ...settingsOf(draft), ...secret } as NewTrigger;
      return body(await api.POST(`${E}/triggers`, { params: { path: place, header: { "Idempotency-Key": once } }, body: given }));
    },
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: ["triggers", place] });
      if (!made.secret) await show(made);
    },
  });
  const show = async (made: Trigger) => {
    close();
    await navigate({ to: "/e/$org/$project/$environment/triggers/$trigger", params: { ...place, trigger: made.id } });
  };
  if (make.data?.secret) return <Made trigger={make.data} close={() => void show(make.data)} />;
  return (
    <TriggerForm
      place={place}
      draft={draft}
      change={(part) => setDraft((before) => ({ ...before, ...part }))}
      of={null}
      submit="Create"
      isBusy={make.isPending}
      problem={make.error}
      onSubmit={() => make.mutate()}
      onCancel={close}
    >
      <Choice label="Fires" value={draft.kind} options={KINDS} onChange={(kind) => setDraft({ ...draft, kind })} />
    </TriggerForm>
  );
}

function Made({ trigger, close }: { trigger: Trigger; close: () => void }) {
  return (
    <SecretOnce label="Secret" secret={trigger.secret ?? ""} close={close}>
      <Sender trigger={trigger} secret={trigger.secret ?? ""} />
    </SecretOnce>
  );
}

/** Where the sender posts to, and a program to try it. */
export function Sender({ trigger, secret }: { trigger: Trigger; secret: string }) {
  return (
    <>
      <p>
        The sender posts to <code>{trigger.url}</code> and signs with the secret.
      </p>
      {trigger.verify && (
        <>
          <p>To try it from a shell:</p>
          <pre className="code scroll" tabIndex={0} aria-label="Sender">
            {senderOf(trigger.verify, trigger.url ?? "", secret)}
          </pre>
        </>
      )}
    </>
  );
}
