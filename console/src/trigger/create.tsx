/** Making a trigger: a schedule or a webhook. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, body, E, onceKey, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { SecretOnce } from "../kit/action";
import { Button, Choice, Dialog, Field, Form } from "../kit/control";
import type { NewTrigger, Trigger } from "./model";
import { senderOf } from "./sender";

const SCHEMES = [
  ["standard", "Standard Webhooks"],
  ["github", "GitHub"],
  ["stripe", "Stripe"],
  ["slack", "Slack"],
  ["hmac", "HMAC in a header"],
  ["bearer", "Bearer token"],
] as const;
type Scheme = (typeof SCHEMES)[number][0];

const OVERLAPS = [
  ["allow", "start another one"],
  ["skip", "skip this time"],
  ["cancel_running", "cancel what runs"],
] as const;
const CATCH_UPS = [
  ["none", "nothing"],
  ["last", "the last one"],
  ["all", "all, at most 1,000"],
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
  const [kind, setKind] = useState<"schedule" | "webhook">("schedule");
  const [name, setName] = useState("");
  const [target, setTarget] = useState("");
  const [schedule, setSchedule] = useState<Partial<NewTrigger>>({});
  const [webhook, setWebhook] = useState<Partial<NewTrigger>>({ verify: { scheme: "standard" } as NewTrigger["verify"] });
  const make = useMutation<Trigger, Problem>({
    mutationFn: async () => {
      const given = { kind, name, job: { function: target }, ...(kind === "schedule" ? schedule : webhook) } as NewTrigger;
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
    <Form submit="Create" isBusy={make.isPending} isDisabled={!name.trim() || !target.trim()} problem={make.error} onSubmit={() => make.mutate()} onCancel={close}>
      <Choice
        label="Fires"
        value={kind}
        options={[
          ["schedule", "by a schedule"],
          ["webhook", "by a webhook"],
        ]}
        onChange={setKind}
      />
      <Field label="Name" value={name} onChange={setName} placeholder={kind === "schedule" ? "nightly report" : "pushes"} />
      <Field label="Function" value={target} onChange={setTarget} code placeholder="report.render" hint="Of which each firing submits a job." />
      {kind === "schedule" ? <Schedule onChange={setSchedule} /> : <Webhook onChange={setWebhook} />}
    </Form>
  );
}

type Part = { onChange: (own: Partial<NewTrigger>) => void };

function Schedule({ onChange }: Part) {
  const [form, setForm] = useState({
    cron: "",
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    overlap: "allow" as (typeof OVERLAPS)[number][0],
    catch_up: "none" as (typeof CATCH_UPS)[number][0],
  });
  const change = (part: Partial<typeof form>) => {
    const next = { ...form, ...part };
    setForm(next);
    const schedule = { cron: next.cron, timezone: next.timezone } as unknown as NewTrigger["schedule"]; // any object, says the API
    onChange({ schedule, overlap: next.overlap, catch_up: next.catch_up });
  };
  return (
    <>
      <Field label="Times" value={form.cron} onChange={(cron) => change({ cron })} code placeholder="*/5 * * * *" hint="As in cron: five fields, or six with seconds." />
      <Field label="Time zone" value={form.timezone} onChange={(timezone) => change({ timezone })} code />
      <Choice label="When the one before still runs" value={form.overlap} options={OVERLAPS} onChange={(overlap) => change({ overlap })} />
      <Choice label="Of times missed while Waypost was away" value={form.catch_up} options={CATCH_UPS} onChange={(catch_up) => change({ catch_up })} />
    </>
  );
}

function Webhook({ onChange }: Part) {
  const [form, setForm] = useState({ scheme: "standard" as Scheme, secret: "", header: "", filter: "", map: "" });
  const change = (part: Partial<typeof form>) => {
    const next = { ...form, ...part };
    setForm(next);
    const verify = { scheme: next.scheme, ...(next.scheme === "hmac" ? { header: next.header } : {}) };
    onChange({ verify: verify as NewTrigger["verify"], filter: next.filter || null, map: next.map || null, secret: next.secret || null });
  };
  const isTheirs = form.scheme === "stripe" || form.scheme === "slack";
  return (
    <>
      <Choice label="Signed as" value={form.scheme} options={SCHEMES} onChange={(scheme) => change({ scheme })} />
      {form.scheme === "hmac" && <Field label="Header" value={form.header} onChange={(header) => change({ header })} code placeholder="X-Signature" />}
      {isTheirs && <Field label="Signing secret" type="password" value={form.secret} onChange={(secret) => change({ secret })} code hint="The sender made it." autoComplete="off" />}
      <Field label="Filter" value={form.filter} onChange={(filter) => change({ filter })} code placeholder="body.ref == 'refs/heads/main'" hint="JMESPath over headers, query and body; none: everything." />
      <Field label="Map" value={form.map} onChange={(map) => change({ map })} code placeholder="{commit: body.after}" hint="JMESPath that makes the job's payload; none: all of it." />
    </>
  );
}

function Made({ trigger, close }: { trigger: Trigger; close: () => void }) {
  const verify = (trigger.verify ?? {}) as { scheme?: string; header?: string };
  const sender = senderOf(verify.scheme ?? "", trigger.url ?? "", trigger.secret ?? "", verify.header ?? null);
  return (
    <SecretOnce label="Secret" secret={trigger.secret ?? ""} close={close}>
      <p>
        The sender posts to <code>{trigger.url}</code> and signs with this secret.
      </p>
      {sender !== null && (
        <>
          <p>To try it from a shell:</p>
          <pre className="code scroll" tabIndex={0} aria-label="Sender">
            {sender}
          </pre>
        </>
      )}
    </SecretOnce>
  );
}
