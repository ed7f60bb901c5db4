/** What a subscription is told, as a form holds it. */
import type { Problem } from "../api/problem";
import { Field } from "../kit/control";

export type Draft = { url: string; events: string; description: string };

export function givenOf({ url, events, description }: Draft): { url: string; events: string[]; description: string } {
  return { url: url.trim(), description, events: events.split(/[\s,]+/).filter(Boolean) };
}

export function Fields({ draft, change, problem }: { draft: Draft; change: (part: Partial<Draft>) => void; problem: Problem | null }) {
  const fault = (path: string) => problem?.faults.find((one) => one.path.startsWith(path))?.message;
  return (
    <>
      <Field label="Address" type="url" value={draft.url} onChange={(url) => change({ url })} code placeholder="https://example.com/hook" fault={fault("/url")} />
      <Field
        label="Events"
        value={draft.events}
        onChange={(events) => change({ events })}
        code
        fault={fault("/events")}
        hint="With blanks between: job.completed job.dead_letter; job.* is all of a job's, * is everything."
      />
      <Field label="Description" value={draft.description} onChange={(description) => change({ description })} fault={fault("/description")} />
    </>
  );
}
