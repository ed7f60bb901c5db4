/** The fields of a trigger, made or changed, judged by the API while they are written. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useState, type ReactNode } from "react";
import { api, body, E, type Place, type Schemas } from "../api/client";
import type { Fault, Problem } from "../api/problem";
import { faultOf } from "../json/tree";
import { Choice, Field, Form } from "../kit/control";
import { Time } from "../kit/text";
import { canPreview, faultAt, namesDeliveries, settingsOf, type Draft } from "./draft";

export const SCHEMES = [
  ["standard", "Standard Webhooks"],
  ["github", "GitHub"],
  ["stripe", "Stripe"],
  ["slack", "Slack"],
  ["hmac", "HMAC in a header"],
  ["bearer", "Bearer token"],
] as const;
export const OVERLAPS = [
  ["allow", "start another one"],
  ["skip", "skip this time"],
  ["cancel_running", "cancel what runs"],
] as const;
export const CATCH_UPS = [
  ["none", "nothing"],
  ["last", "the last one"],
  ["all", "all, at most 1,000"],
] as const;
const TIMINGS = [
  ["cron", "at times, as in cron"],
  ["every", "every so many seconds"],
] as const;
const ALGORITHMS = [
  ["sha256", "SHA-256"],
  ["sha512", "SHA-512"],
  ["sha1", "SHA-1"],
] as const;
const ENCODINGS = [
  ["hex", "hexadecimal"],
  ["base64", "Base64"],
] as const;
const SETTLE_MS = 250;

type Props = {
  place: Place;
  draft: Draft;
  change: (part: Partial<Draft>) => void;
  /** Of which these are to be the settings; null for a new one. */
  of: string | null;
  submit: string;
  isBusy: boolean;
  problem: Problem | null;
  onSubmit: () => void;
  onCancel: () => void;
  children?: ReactNode;
};

export function TriggerForm({ place, draft, change, of, submit, isBusy, problem, onSubmit, onCancel, children }: Props) {
  const preview = usePreview(place, draft, of);
  const faults = [...(preview.error?.faults ?? []), ...(problem?.faults ?? [])];
  const wrong = draft.job.trim() ? faultOf(draft.job) : null;
  const field = { draft, change, faults };
  const times = preview.error ? [] : (preview.data?.next_fire_times ?? []);
  return (
    <Form submit={submit} isBusy={isBusy} isDisabled={!draft.name.trim() || !draft.function.trim() || wrong !== null} problem={problem} onSubmit={onSubmit} onCancel={onCancel}>
      {children}
      <div className="pair">
        <Text {...field} name="name" at="/name" label="Name" plain placeholder={draft.kind === "schedule" ? "nightly report" : "pushes"} />
        <Text {...field} name="function" at="/job/function" label="Function" placeholder="report.render" hint="Of which each firing submits a job." />
      </div>
      {draft.kind === "schedule" ? <Schedule {...field} times={canPreview(draft) ? times : []} /> : <Webhook {...field} isNew={of === null} />}
      <details className="more">
        <summary>More about its jobs</summary>
        <Text {...field} name="tags" at="/job/tags" label="Tags" placeholder="gpu, mem_gb>=16" hint="With commas between; all must hold." />
        <Field
          label="Everything else"
          rows={6}
          code
          value={draft.job}
          onChange={(job) => change({ job })}
          fault={wrong ? `${wrong.message} (line ${wrong.line}, column ${wrong.column}).` : faultAt(faults, "/job")}
          hint="As in a submission: priority, timeout_seconds, expires_in_seconds, retry, concurrency, labels …"
        />
      </details>
    </Form>
  );
}

/** What these settings would do, or what is wrong with them, a moment after they were written. */
function usePreview(place: Place, draft: Draft, of: string | null) {
  const wanted = canPreview(draft) ? JSON.stringify({ kind: draft.kind, ...(of === null ? {} : { trigger_id: of }), ...settingsOf(draft) }) : "";
  const [asked, ask] = useState(wanted);
  useEffect(() => {
    const timer = setTimeout(() => ask(wanted), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [wanted]);
  return useQuery<Schemas["PreviewView"], Problem>({
    queryKey: ["trigger-preview", place, asked],
    queryFn: async () => body(await api.POST(`${E}/triggers/preview`, { params: { path: place }, body: JSON.parse(asked) as Schemas["TriggerPreview"] })),
    enabled: asked !== "",
    placeholderData: keepPreviousData,
  });
}

type FieldsProps = { draft: Draft; change: (part: Partial<Draft>) => void; faults: Fault[] };
type TextName = { [K in keyof Draft]: string extends Draft[K] ? K : never }[keyof Draft];
type TextProps = FieldsProps & { name: TextName; at: string; label: string; hint?: ReactNode; placeholder?: string; plain?: boolean; rows?: number; type?: string };

/** One field of text. It is faulted only when something stands in it: an empty one is not written yet. */
function Text({ draft, change, faults, name, at, plain, ...rest }: TextProps) {
  const fault = draft[name].trim() ? faultAt(faults, at) : undefined;
  return <Field {...rest} code={!plain} value={draft[name]} onChange={(value) => change({ [name]: value })} fault={fault} autoComplete="off" />;
}

function Schedule({ times, ...field }: FieldsProps & { times: string[] }) {
  const { draft, change } = field;
  return (
    <>
      <Choice label="Repeats" value={draft.timing} options={TIMINGS} onChange={(timing) => change({ timing })} />
      {draft.timing === "cron" ? (
        <div className="pair">
          <Text {...field} name="cron" at="/schedule/cron" label="Times" placeholder="*/5 * * * *" hint="As in cron: five fields, or six with seconds." />
          <Text {...field} name="timezone" at="/schedule/timezone" label="Time zone" placeholder="Europe/Helsinki" />
        </div>
      ) : (
        <Text {...field} name="every" at="/schedule/every_seconds" label="Seconds" placeholder="300" hint="Counted from when the trigger was made." />
      )}
      <NextTimes times={times} />
      <div className="pair">
        <Choice label="When the one before still runs" value={draft.overlap} options={OVERLAPS} onChange={(overlap) => change({ overlap })} />
        <Choice label="Of times missed while Waypost was away" value={draft.catch_up} options={CATCH_UPS} onChange={(catch_up) => change({ catch_up })} />
      </div>
      <Text {...field} name="jitter" at="/jitter_seconds" label="Spread, in seconds" hint="Each time fires up to so much later: many schedules of one time do not come at once." />
    </>
  );
}

function NextTimes({ times }: { times: string[] }) {
  return (
    <div className="next-times" role="status" aria-label="Next times">
      {times.length > 0 && (
        <>
          <span className="hint">It would fire</span>
          <ol>
            {times.map((at) => (
              <li key={at}>
                <Time at={at} />
              </li>
            ))}
          </ol>
        </>
      )}
    </div>
  );
}

function Webhook({ isNew, ...field }: FieldsProps & { isNew: boolean }) {
  const { draft, change } = field;
  const isTheirs = draft.scheme === "stripe" || draft.scheme === "slack";
  return (
    <>
      {isNew && <Choice label="Signed as" value={draft.scheme} options={SCHEMES} onChange={(scheme) => change({ scheme })} />}
      {draft.scheme === "hmac" && (
        <>
          <div className="pair">
            <Text {...field} name="header" at="/verify/header" label="Header" placeholder="X-Signature" />
            <Text {...field} name="prefix" at="/verify/prefix" label="Prefix" placeholder="sha256=" hint="What stands before the signature." />
          </div>
          <div className="pair">
            <Choice label="Algorithm" value={draft.algorithm} options={ALGORITHMS} onChange={(algorithm) => change({ algorithm })} />
            <Choice label="Written in" value={draft.encoding} options={ENCODINGS} onChange={(encoding) => change({ encoding })} />
          </div>
        </>
      )}
      {draft.scheme === "standard" && (
        <Text {...field} name="public_keys" at="/verify/public_keys" label="Public keys" placeholder="whpk_…" hint="Of a sender that signs with ed25519, with blanks between. None: the secret alone." />
      )}
      {namesDeliveries(draft) && (
        <div className="pair">
          <Text {...field} name="delivery_header" at="/verify/delivery_header" label="Delivery header" placeholder="X-Request-Id" hint="The same in a repeat, which then makes no second job." />
          <Text {...field} name="delivery_expression" at="/verify/delivery_expression" label="or expression" placeholder="body.id" />
        </div>
      )}
      {isNew && isTheirs && <Text {...field} name="secret" at="/secret" label="Signing secret" type="password" hint="The sender made it." />}
      <Text {...field} name="filter" at="/filter" label="Filter" placeholder="body.ref == 'refs/heads/main'" hint="JMESPath over headers, query and body; none: everything." />
      <Text {...field} name="map" at="/map" label="Map" placeholder="{commit: body.after}" hint="JMESPath that makes the job's payload; none: all of it." />
      <Text {...field} name="rate" at="/rate_per_second" label="At most, a second" />
    </>
  );
}
