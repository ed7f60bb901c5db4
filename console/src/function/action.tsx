/** What can be done to a function: pause it with a note, resume it, run it now. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, E, environmentPath, onceKey, raw, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { faultOf, indented } from "../json/tree";
import { Button, Dialog, Field, Form } from "../kit/control";
import { exampleOf } from "./example";
import type { Function } from "./model";

type Props = { found: Function; place: Place };

export function Actions({ found, place }: Props) {
  const [open, setOpen] = useState<"pause" | "run" | null>(null);
  const may = useMay(place, "OperateEnvironment");
  const close = () => setOpen(null);
  return (
    <div className="buttons">
      <Button isDisabled={!may.allowed} onPress={() => setOpen("run")}>
        Run it now…
      </Button>
      <Button isDisabled={!may.allowed} onPress={() => setOpen("pause")}>
        {found.paused ? "Resume…" : "Pause…"}
      </Button>
      <Dialog title={found.paused ? `Resume ${found.name}?` : `Pause ${found.name}?`} isOpen={open === "pause"} onClose={close}>
        <Pause found={found} place={place} close={close} />
      </Dialog>
      <Dialog title={`Run ${found.name}`} isOpen={open === "run"} onClose={close} wide>
        <Run found={found} place={place} close={close} />
      </Dialog>
    </div>
  );
}

function Pause({ found, place, close }: Props & { close: () => void }) {
  const client = useQueryClient();
  const [note, setNote] = useState("");
  const [wasPaused] = useState(found.paused !== null);
  const change = useMutation<unknown, Problem>({
    mutationFn: async () => {
      const options = { params: { path: { ...place, function: found.name } }, body: { note } };
      return wasPaused ? await api.POST(`${E}/functions/{function}/resume`, options) : await api.POST(`${E}/functions/{function}/pause`, options);
    },
    onSuccess: close,
    onSettled: () =>
      Promise.all([client.invalidateQueries({ queryKey: ["functions", place] }), client.invalidateQueries({ queryKey: ["function", place, found.name] })]),
  });
  return (
    <Form submit={wasPaused ? "Resume" : "Pause"} isBusy={change.isPending} problem={change.error} onSubmit={() => change.mutate()} onCancel={close}>
      <p>
        {wasPaused
          ? "Its waiting jobs start again as nodes are free."
          : "No job of it starts until it is resumed; what runs goes on. Whoever waits is shown who paused it, and your note."}
      </p>
      <Field label="Note" value={note} onChange={setNote} placeholder={wasPaused ? "it is back" : "the licence server is down"} />
    </Form>
  );
}

function Run({ found, place, close }: Props & { close: () => void }) {
  const navigate = useNavigate();
  const [once] = useState(onceKey);
  const [payload, setPayload] = useState(() => indented(JSON.stringify(exampleOf(found.input_schema))));
  const [tags, setTags] = useState("");
  const [fault, setFault] = useState<string | null>(null);
  const run = useMutation<{ id: string }, Problem>({
    mutationFn: async () => {
      const headers = { "content-type": "application/json", "idempotency-key": once };
      const selectors = JSON.stringify(selectorsOf(tags));
      const text = `{"function":${JSON.stringify(found.name)},"payload":${payload},"tags":${selectors}}`;
      return JSON.parse(await raw(`${environmentPath(place)}/jobs`, { method: "POST", body: text, headers })) as { id: string };
    },
    onSuccess: async (made) => {
      close();
      await navigate({ to: "/e/$org/$project/$environment/jobs/$job", params: { ...place, job: made.id } });
    },
  });
  const submit = () => {
    const wrong = faultOf(payload);
    setFault(wrong && `${wrong.message} (line ${wrong.line}, column ${wrong.column}).`);
    if (!wrong) run.mutate();
  };
  return (
    <Form submit="Run" isBusy={run.isPending} problem={run.error} onSubmit={submit} onCancel={close}>
      <Field
        label="Payload"
        rows={10}
        value={payload}
        onChange={setPayload}
        code
        fault={fault}
        hint={found.input_schema ? "Begun from the function's schema." : "The function declares no schema: any JSON will do."}
      />
      <Field label="Tags" value={tags} onChange={setTags} code placeholder="gpu, mem_gb>=16" hint="With commas between; all must hold. None: any node with the function." />
    </Form>
  );
}

/** Selectors with commas between, but for those inside of parentheses. */
export function selectorsOf(text: string): string[] {
  return text
    .split(/,(?![^(]*\))/)
    .map((selector) => selector.trim())
    .filter((selector) => selector !== "");
}

