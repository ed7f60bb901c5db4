/** The environment itself: what it is, suspending and resuming it, and deleting it for good. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../account/session";
import { Who } from "../account/who";
import { api, body, E, onceKey, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { Button, Dialog, Field, Form } from "../kit/control";
import type { Tagged } from "../kit/edit";
import { Fact, Facts, Loaded, Panel } from "../kit/panel";
import { Foreign, State, Time } from "../kit/text";
import { Watched } from "../organization/environment";
import { environmentQuery, stepsQuery, type Environment } from "../organization/model";

type Change = "suspend" | "resume" | "delete";
type Found = Tagged<Environment>;

const WORDS: Record<Change, { submit: string; text: string }> = {
  suspend: { submit: "Suspend", text: "New jobs are refused, and those that wait stay. Nodes stay connected and get no work; what they run may finish." },
  resume: { submit: "Resume", text: "Jobs are taken and started again. No node has to connect anew." },
  delete: {
    submit: "Delete",
    text: "Everything in it goes, and nobody can bring it back: jobs, logs, artifacts, triggers, subscriptions, keys, its database and its bucket. What waits is canceled; what runs has a minute.",
  },
};

export function Life({ place }: { place: Place }) {
  const query = useQuery(environmentQuery(place));
  return (
    <Loaded query={query}>
      {(found) => (
        <>
          <About environment={found.value} place={place} />
          <Changes found={found} place={place} />
        </>
      )}
    </Loaded>
  );
}

function About({ environment, place }: { environment: Environment; place: Place }) {
  return (
    <Panel title="This environment">
      <Facts>
        <Fact name="Name">
          <Foreign>{environment.name}</Foreign> <State state={environment.status} /> {environment.status_reason && <bdi className="hint">{environment.status_reason}</bdi>}
        </Fact>
        <Fact name="In addresses">
          <code>{environment.slug}</code>
        </Fact>
        <Fact name="Posture">{environment.posture}</Fact>
        <Fact name="Kept in">{environment.backend}</Fact>
        <Fact name="Created">
          <Time at={environment.created_at} /> by <Who actor={environment.created_by} place={place} />
        </Fact>
      </Facts>
    </Panel>
  );
}

type Props = { found: Found; place: Place };

function Changes({ found, place }: Props) {
  const may = useMay(place, "ManageEnvironment");
  const { status } = found.value;
  const other = status === "suspended" ? "resume" : "suspend";
  return (
    <Panel title="Suspend or delete it">
      <div className="buttons">
        <Ask change={other} found={found} place={place} isDisabled={!may.allowed || (status !== "ready" && status !== "suspended")} />
        <Ask change="delete" found={found} place={place} isDisabled={!may.allowed || status === "deleting"} />
      </div>
      {!may.allowed && may.reason && <p className="hint">For who has the permission ManageEnvironment. You have {may.reason}.</p>}
    </Panel>
  );
}

/** A button, and the dialog that it opens: what will happen, then the steps in which it does. */
function Ask({ change, found, place, isDisabled }: Props & { change: Change; isDisabled: boolean }) {
  const [asked, setAsked] = useState<Change | null>(null); // the button changes its word while its dialog is open
  const close = () => setAsked(null);
  const { submit } = WORDS[asked ?? change];
  return (
    <>
      <Button look={change === "delete" ? "danger" : "plain"} isDisabled={isDisabled} onPress={() => setAsked(change)}>
        {WORDS[change].submit}…
      </Button>
      <Dialog title={`${submit} ${found.value.slug}?`} isOpen={asked !== null} onClose={close}>
        {asked && <Steps change={asked} found={found} place={place} close={close} />}
      </Dialog>
    </>
  );
}

function Steps({ change, found: { value, etag }, place, close }: Props & { change: Change; close: () => void }) {
  const client = useQueryClient();
  const [once] = useState(onceKey);
  const [typed, setTyped] = useState("");
  const ask = useMutation<Environment, Problem>({
    mutationFn: async () => {
      const [path, header] = [place, { "If-Match": etag }];
      if (change === "delete") return body(await api.DELETE(`${E}`, { params: { path, header } }));
      const params = { path, header: { ...header, "Idempotency-Key": once } };
      return body(change === "suspend" ? await api.POST(`${E}/suspend`, { params }) : await api.POST(`${E}/resume`, { params }));
    },
    onSuccess: (changed) => client.setQueryData(stepsQuery(place).queryKey, changed),
    onSettled: () => client.invalidateQueries({ queryKey: ["environment", place] }),
  });
  if (ask.isSuccess) return <Watched place={place} close={close} />;
  const { submit, text } = WORDS[change];
  const isDelete = change === "delete";
  return (
    <Form submit={submit} danger={isDelete} isBusy={ask.isPending} isDisabled={isDelete && typed !== value.slug} problem={ask.error} onSubmit={() => ask.mutate()} onCancel={close}>
      <p>{text}</p>
      {isDelete && <Field label={`Type ${value.slug} to go on`} value={typed} onChange={setTyped} code autoComplete="off" />}
    </Form>
  );
}
