/** What can be done to a function: pause it with a note, resume it, run it now. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, E, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { Button, Dialog, Field, Form } from "../kit/control";
import type { Function } from "./model";
import { Run } from "./run";

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
        <Run name={found.name} place={place} close={close} />
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
