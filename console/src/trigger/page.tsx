/** One trigger: when it fires, when it did, and what came of it. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../account/session";
import { Who } from "../account/who";
import { api, body, E, environmentPath, raw, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { faultOf } from "../json/tree";
import { Json } from "../json/view";
import { Confirm, RotateSecret } from "../kit/action";
import { Button, Dialog, Field, Form } from "../kit/control";
import { Empty, Fact, Facts, Loaded, Panel } from "../kit/panel";
import { Pages, Sheet } from "../kit/pages";
import { Ago, Copy, Foreign, State, Time } from "../kit/text";
import { usePlace } from "../shell/place";
import { Sender } from "./create";
import { EditTrigger } from "./edit";
import { CATCH_UPS, OVERLAPS } from "./form";
import { functionOf, triggerQuery, whenOf, type Firing, type Trigger } from "./model";
import { senderOf } from "./sender";

export function TriggerPage() {
  const place = usePlace();
  const { trigger } = useParams({ from: "/e/$org/$project/$environment/triggers/$trigger" });
  const query = useQuery(triggerQuery(place, trigger));
  return (
    <div className="page">
      <p className="crumbs">
        <Link to="/e/$org/$project/$environment/triggers" params={place}>
          Triggers and subscriptions
        </Link>
      </p>
      <Loaded query={query}>{(found) => <Known trigger={found} place={place} />}</Loaded>
    </div>
  );
}

type Props = { trigger: Trigger; place: Place };

function Known({ trigger, place }: Props) {
  return (
    <>
      <div className="title">
        <h1>
          <Foreign>{trigger.name}</Foreign>
        </h1>
        <State state={trigger.state} />
        <Actions trigger={trigger} place={place} />
      </div>
      <div className="columns">
        <Firings trigger={trigger} place={place} />
        <Panel title="Details">
          <Details trigger={trigger} place={place} />
        </Panel>
      </div>
    </>
  );
}

function Actions({ trigger, place }: Props) {
  const navigate = useNavigate();
  const may = useMay(place, "OperateEnvironment");
  const params = { params: { path: { ...place, trigger: trigger.id } } };
  const changes = [["trigger", place, trigger.id], ["triggers", place]];
  const paused = trigger.state === "paused";
  return (
    <div className="buttons">
      <EditTrigger trigger={trigger} place={place} isDisabled={!may.allowed} />
      <Test trigger={trigger} place={place} isDisabled={!may.allowed} />
      <Confirm
        label={paused ? "Resume…" : "Pause…"}
        title={paused ? `Resume ${trigger.name}?` : `Pause ${trigger.name}?`}
        submit={paused ? "Resume" : "Pause"}
        isDisabled={!may.allowed}
        run={() => (paused ? api.POST(`${E}/triggers/{trigger}/resume`, params) : api.POST(`${E}/triggers/{trigger}/pause`, params))}
        changes={changes}
      >
        <p>{paused ? "It fires again from now on." : "It fires no more until it is resumed."}</p>
      </Confirm>
      {trigger.kind === "webhook" && <TrySender trigger={trigger} />}
      {trigger.kind === "webhook" && <Rotate trigger={trigger} place={place} isDisabled={!may.allowed} />}
      <Confirm
        label="Delete…"
        title={`Delete ${trigger.name}?`}
        submit="Delete"
        danger
        isDisabled={!may.allowed}
        run={() => api.DELETE(`${E}/triggers/{trigger}`, params)}
        changes={[["triggers", place]]}
        then={() => void navigate({ to: "/e/$org/$project/$environment/triggers", params: place })}
      >
        <p>It never fires again, and its secrets are gone. The jobs that it made stay.</p>
      </Confirm>
    </div>
  );
}

type ActionProps = Props & { isDisabled: boolean };

function Test({ trigger, place, isDisabled }: ActionProps) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button isDisabled={isDisabled} onPress={() => setOpen(true)}>
        Test…
      </Button>
      <Dialog title={`Fire ${trigger.name} once`} isOpen={isOpen} onClose={() => setOpen(false)} wide>
        <TestForm trigger={trigger} place={place} close={() => setOpen(false)} />
      </Dialog>
    </>
  );
}

type Tested = { outcome: string; job_id: string | null };

function TestForm({ trigger, place, close }: Props & { close: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [text, setText] = useState("{}");
  const [fault, setFault] = useState<string | null>(null);
  const fire = useMutation<Tested, Problem>({
    mutationFn: async () => {
      const init = { method: "POST", headers: { "content-type": "application/json" }, body: trigger.kind === "webhook" ? `{"body":${text}}` : "{}" };
      return JSON.parse(await raw(`${environmentPath(place)}/triggers/${trigger.id}/test`, init)) as Tested;
    },
    onSuccess: async ({ job_id: job }) => {
      await client.invalidateQueries({ queryKey: ["firings", place, trigger.id] });
      if (job === null) return;
      close();
      await navigate({ to: "/e/$org/$project/$environment/jobs/$job", params: { ...place, job } });
    },
  });
  const submit = () => {
    const wrong = faultOf(text);
    setFault(wrong && `${wrong.message} (line ${wrong.line}, column ${wrong.column}).`);
    if (!wrong) fire.mutate();
  };
  return (
    <Form submit="Fire" isBusy={fire.isPending} problem={fire.error} onSubmit={submit} onCancel={close}>
      <p>It submits a job as if it had fired, also while it is paused. No signature is asked for.</p>
      {trigger.kind === "webhook" && <Field label="Body" rows={8} value={text} onChange={setText} code fault={fault} />}
      {fire.data?.job_id === null && <p role="status">The filter took it: there is no job.</p>}
    </Form>
  );
}

const UNTOLD = "PUT THE SECRET HERE";

/** The sender's side at any time: who tries it has the secret, nobody else does. */
function TrySender({ trigger }: { trigger: Trigger }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button onPress={() => setOpen(true)}>Sender…</Button>
      <Dialog title={`How ${trigger.name} is sent to`} isOpen={isOpen} onClose={() => setOpen(false)} wide>
        <Sender trigger={trigger} secret={UNTOLD} />
        <div className="buttons end">
          <Copy text={senderOf(trigger.verify ?? { scheme: "bearer" }, trigger.url ?? "", UNTOLD)} look="plain" />
          <Button onPress={() => setOpen(false)}>Close</Button>
        </div>
      </Dialog>
    </>
  );
}

function Rotate({ trigger, place, isDisabled }: ActionProps) {
  const [given, setGiven] = useState("");
  const isTheirs = trigger.verify?.scheme === "stripe" || trigger.verify?.scheme === "slack";
  return (
    <RotateSecret
      of={trigger.name}
      isDisabled={isDisabled}
      changes={[["trigger", place, trigger.id]]}
      run={async (overlap_seconds) => {
        const params = { path: { ...place, trigger: trigger.id } };
        const changed = body(await api.POST(`${E}/triggers/{trigger}/rotate-secret`, { params, body: { secret: given || null, overlap_seconds } }));
        setGiven("");
        return changed.secret ?? null;
      }}
      beside={(secret) => <Sender trigger={trigger} secret={secret} />}
    >
      <Field
        label="Signing secret"
        type="password"
        value={given}
        onChange={setGiven}
        code
        autoComplete="off"
        hint={isTheirs ? "The sender made it." : "If the sender made it; none: one is made here."}
      />
    </RotateSecret>
  );
}

function Firings({ trigger, place }: Props) {
  return (
    <Panel title="Firings">
      <Pages<Firing>
        queryKey={["firings", place, trigger.id]}
        refetchMs={5_000}
        read={async (cursor) => body(await api.GET(`${E}/triggers/{trigger}/firings`, { params: { path: { ...place, trigger: trigger.id }, query: { cursor } } }))}
        empty={<Empty title="It has not fired yet" />}
      >
        {(found) => (
          <Sheet label="Firings" heads={["When", "Outcome", "Job"]}>
            {found.map((firing) => (
              <tr key={firing.id}>
                <td>
                  <Time at={firing.received_at ?? firing.due_at ?? ""} short />
                </td>
                <td className="wrap">
                  {firing.outcome.replaceAll("_", " ")} {firing.detail && <Foreign>{firing.detail}</Foreign>}
                  {firing.headers && (
                    <details>
                      <summary>Request headers</summary>
                      <Json text={JSON.stringify(firing.headers)} label="Request headers" />
                    </details>
                  )}
                </td>
                <td>
                  {firing.job_id && (
                    <Link to="/e/$org/$project/$environment/jobs/$job" params={{ ...place, job: firing.job_id }}>
                      <code>{firing.job_id.slice(-12)}</code>
                    </Link>
                  )}
                </td>
              </tr>
            ))}
          </Sheet>
        )}
      </Pages>
    </Panel>
  );
}

function wordOf(words: readonly (readonly [string, string])[], key: string): string {
  return words.find(([one]) => one === key)?.[1] ?? key;
}

function Details({ trigger, place }: Props) {
  return (
    <Facts>
      <Fact name="Fires">{whenOf(trigger)}</Fact>
      {trigger.url && (
        <Fact name="Address">
          <code>{trigger.url}</code> <Copy text={trigger.url} />
        </Fact>
      )}
      {trigger.state === "active" && trigger.next_fire_times && (
        <Fact name="Next times">
          <ol>
            {trigger.next_fire_times.map((at) => (
              <li key={at}>
                <Time at={at} />
              </li>
            ))}
          </ol>
        </Fact>
      )}
      <Fact name="Function">
        <Link to="/e/$org/$project/$environment/functions/$function" params={{ ...place, function: functionOf(trigger) }}>
          <Foreign>{functionOf(trigger)}</Foreign>
        </Link>
      </Fact>
      {trigger.overlap && <Fact name="While the one before runs">{wordOf(OVERLAPS, trigger.overlap)}</Fact>}
      {trigger.catch_up && <Fact name="Of missed times">{wordOf(CATCH_UPS, trigger.catch_up)}</Fact>}
      {Boolean(trigger.jitter_seconds) && <Fact name="Spread">up to {trigger.jitter_seconds} s later</Fact>}
      {trigger.filter && (
        <Fact name="Filter">
          <code>{trigger.filter}</code>
        </Fact>
      )}
      {trigger.map && (
        <Fact name="Map">
          <code>{trigger.map}</code>
        </Fact>
      )}
      {trigger.paused_at && (
        <Fact name="Paused">
          <Ago at={trigger.paused_at} /> by <Who actor={trigger.paused_by ?? ""} place={place} />
        </Fact>
      )}
      <Fact name="Its jobs">
        <Link to="/e/$org/$project/$environment/jobs" params={place} search={{ trigger: trigger.id }}>
          show
        </Link>
      </Fact>
      <Fact name="Created">
        <Time at={trigger.created_at} /> by <Who actor={trigger.created_by} place={place} />
      </Fact>
    </Facts>
  );
}
