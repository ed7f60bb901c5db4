/** What can be done to a job: cancel it, or run it again, with another payload too. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, body, E, onceKey, raw, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { faultOf, indented } from "../json/tree";
import { Button, Dialog, Field, Form } from "../kit/control";
import { Copy } from "../kit/text";
import { useMay } from "../account/session";
import { Compare } from "./compare";
import { curl } from "./curl";
import { jobPath, type Job, type Listed } from "./model";
import { isEnd } from "./state";

export function Actions({ job, place }: { job: Job; place: Place }) {
  const [open, setOpen] = useState<"cancel" | "replay" | null>(null);
  const may = useMay(place, "OperateEnvironment");
  const close = () => setOpen(null);
  return (
    <div className="buttons">
      <Copy text={() => curl(location.origin, place, job)} label="Copy as curl" look="plain" />
      <Compare job={job} place={place} />
      {isEnd(job.state) ? (
        <Button look="primary" isDisabled={!may.allowed} onPress={() => setOpen("replay")}>
          Replay…
        </Button>
      ) : (
        <Button look="danger" isDisabled={!may.allowed || job.cancel_requested_at !== null} onPress={() => setOpen("cancel")}>
          {job.cancel_requested_at === null ? "Cancel…" : "Canceling"}
        </Button>
      )}
      <Dialog title="Cancel this job?" isOpen={open === "cancel"} onClose={close}>
        <Cancel job={job} place={place} close={close} />
      </Dialog>
      <Dialog title="Replay this job" isOpen={open === "replay"} onClose={close} wide>
        <Replay job={job} place={place} close={close} />
      </Dialog>
    </div>
  );
}

type Props = { job: Job; place: Place; close: () => void };

function Cancel({ job, place, close }: Props) {
  const client = useQueryClient();
  const [once] = useState(onceKey);
  const cancel = useMutation<unknown, Problem>({
    mutationFn: async () =>
      body(await api.POST(`${E}/jobs/{job}/cancel`, { params: { path: { ...place, job: job.id }, header: { "Idempotency-Key": once } } })),
    onSuccess: close,
    onSettled: () => client.invalidateQueries({ queryKey: ["job", place, job.id] }),
  });
  return (
    <Form submit="Cancel the job" danger isBusy={cancel.isPending} problem={cancel.error} onSubmit={() => cancel.mutate()} onCancel={close}>
      <p>
        {job.state === "running"
          ? "Its node is told to stop, and after ten seconds it is canceled whatever the node does. An answer that comes before that stands."
          : "It waits, so it ends at once and never runs."}
      </p>
    </Form>
  );
}

function Replay({ job, place, close }: Props) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const [once] = useState(onceKey);
  const [before] = useState(() => indented(job.payload ?? "null"));
  const [payload, setPayload] = useState(before);
  const [fault, setFault] = useState<string | null>(null);
  const replay = useMutation<Listed, Problem, string>({
    mutationFn: async (overrides) => {
      const headers = { "content-type": "application/json", "idempotency-key": once };
      return JSON.parse(await raw(`${jobPath(place, job.id)}/replay`, { method: "POST", body: `{"overrides":${overrides}}`, headers })) as Listed;
    },
    onSuccess: async (made) => {
      close();
      void client.invalidateQueries({ queryKey: ["job", place, job.id] }); // it tells of its newest replay
      await navigate({ to: "/e/$org/$project/$environment/jobs/$job", params: { ...place, job: made.id } });
    },
  });
  const submit = () => {
    const found = faultOf(payload);
    setFault(found && `${found.message} (line ${found.line}, column ${found.column}).`);
    // As text, not through JavaScript's numbers.
    if (!found) replay.mutate(payload === before ? "{}" : `{"payload":${payload}}`);
  };
  return (
    <Form submit={payload === before ? "Replay" : "Replay with this payload"} isBusy={replay.isPending} problem={replay.error} onSubmit={submit} onCancel={close}>
      <p>A new job of the same function, with the same tags and policy. This one stays as it is.</p>
      <Field label="Payload" rows={14} value={payload} onChange={setPayload} code fault={fault} />
    </Form>
  );
}
