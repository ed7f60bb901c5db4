/** A trigger as a form holds it: every field text, and what of it is sent. Refuses to judge: the API says what is wrong. */
import type { Fault } from "../api/problem";
import type { Schemas } from "../api/client";
import { selectorsOf } from "../function/selector";
import type { Trigger } from "./model";

export type Draft = {
  kind: "schedule" | "webhook";
  name: string;
  function: string;
  tags: string;
  /** Whatever else its jobs have, as JSON. */
  job: string;
  timing: "cron" | "every";
  cron: string;
  timezone: string;
  every: string;
  overlap: Schemas["Overlap"];
  catch_up: Schemas["CatchUp"];
  jitter: string;
  scheme: Schemas["Verification"]["scheme"];
  header: string;
  algorithm: Schemas["Verification"]["algorithm"];
  encoding: Schemas["Verification"]["encoding"];
  prefix: string;
  public_keys: string;
  delivery_header: string;
  delivery_expression: string;
  filter: string;
  map: string;
  rate: string;
  secret: string;
};

export const NEW: Draft = {
  kind: "schedule",
  name: "",
  function: "",
  tags: "",
  job: "{}",
  timing: "cron",
  cron: "",
  timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  every: "",
  overlap: "allow",
  catch_up: "none",
  jitter: "0",
  scheme: "standard",
  header: "",
  algorithm: "sha256",
  encoding: "hex",
  prefix: "",
  public_keys: "",
  delivery_header: "",
  delivery_expression: "",
  filter: "",
  map: "",
  rate: "1000",
  secret: "",
};

type Json = Record<string, unknown>;

/** What is there already, to be changed. */
export function draftOf(trigger: Trigger): Draft {
  const { function: name, tags, ...rest } = trigger.job as Json;
  const verify: Partial<Schemas["Verification"]> = trigger.verify ?? {};
  const schedule: Partial<Schemas["Timing"]> = trigger.schedule ?? {};
  return {
    ...NEW,
    kind: trigger.kind,
    name: trigger.name,
    function: String(name ?? ""),
    tags: (tags as string[] | undefined)?.join(", ") ?? "",
    job: JSON.stringify(without(rest, null), null, 2),
    timing: schedule.every_seconds ? "every" : "cron",
    cron: schedule.cron ?? "",
    timezone: schedule.timezone ?? "UTC",
    every: schedule.every_seconds ? String(schedule.every_seconds) : "",
    overlap: trigger.overlap ?? NEW.overlap,
    catch_up: trigger.catch_up ?? NEW.catch_up,
    jitter: String(trigger.jitter_seconds ?? 0),
    scheme: verify.scheme ?? NEW.scheme,
    header: verify.header ?? "",
    algorithm: verify.algorithm ?? NEW.algorithm,
    encoding: verify.encoding ?? NEW.encoding,
    prefix: verify.prefix ?? "",
    public_keys: verify.public_keys?.join("\n") ?? "",
    delivery_header: verify.delivery_header ?? "",
    delivery_expression: verify.delivery_expression ?? "",
    filter: trigger.filter ?? "",
    map: trigger.map ?? "",
    rate: String(trigger.rate_per_second ?? NEW.rate),
  };
}

/** The settings of its kind, whole: what is empty is the default again. */
export function settingsOf(draft: Draft): Json {
  if (draft.kind === "webhook") {
    return { verify: verifyOf(draft), filter: draft.filter.trim() || null, map: draft.map.trim() || null, rate_per_second: numberOf(draft.rate) };
  }
  const zone = draft.timezone.trim();
  const schedule = draft.timing === "cron" ? { cron: draft.cron.trim(), ...(zone ? { timezone: zone } : {}) } : { every_seconds: numberOf(draft.every) };
  return { schedule, overlap: draft.overlap, catch_up: draft.catch_up, jitter_seconds: numberOf(draft.jitter) };
}

function verifyOf(draft: Draft): Json {
  const own: Json = { scheme: draft.scheme };
  if (draft.scheme === "standard") own["public_keys"] = words(draft.public_keys);
  if (draft.scheme === "hmac") Object.assign(own, { header: draft.header.trim(), algorithm: draft.algorithm, encoding: draft.encoding, prefix: draft.prefix });
  if (namesDeliveries(draft)) Object.assign(own, { delivery_header: draft.delivery_header.trim(), delivery_expression: draft.delivery_expression.trim() });
  return without(own, "");
}

/** Whether its scheme leaves open what makes two deliveries the same. */
export function namesDeliveries({ scheme }: Draft): boolean {
  return scheme === "hmac" || scheme === "bearer";
}

/** Name and job. The job's JSON must be an object; `faultOf` said so before. */
export function commonOf(draft: Draft): Json {
  const rest = JSON.parse(draft.job.trim() || "{}") as Json;
  return { name: draft.name, job: { ...rest, function: draft.function.trim(), tags: selectorsOf(draft.tags) } };
}

/** Whether enough is there to ask what it would do. */
export function canPreview(draft: Draft): boolean {
  if (draft.kind === "webhook") return draft.scheme !== "hmac" || draft.header.trim() !== "";
  return (draft.timing === "cron" ? draft.cron : draft.every).trim() !== "";
}

/** What is wrong at a field or below it. */
export function faultAt(faults: readonly Fault[], path: string): string | undefined {
  return faults.find((fault) => fault.path === path || fault.path.startsWith(`${path}/`))?.message;
}

/** A number as one; what is none goes out as it is, and is refused where it lies. */
function numberOf(text: string): number | string | null {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  const number = Number(trimmed);
  return Number.isFinite(number) ? number : trimmed;
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(Boolean);
}

function without(fields: Json, value: unknown): Json {
  return Object.fromEntries(Object.entries(fields).filter(([, one]) => one !== value));
}
