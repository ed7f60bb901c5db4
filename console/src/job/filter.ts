/** The filters of the list of jobs: in the address as people read them, and as the API wants them. */
import { listOf, textOf } from "../shell/search";
import { isEnd, STATES } from "./state";

export const SPANS = { "15m": 15, "1h": 60, "24h": 24 * 60, "7d": 7 * 24 * 60 } as const;

/** `label` holds `KEY=VALUE`; `since` is one of SPANS, reckoned from when the list is read; `after`, `before` are instants. */
export type Filters = {
  state?: string[] | undefined;
  function?: string[] | undefined;
  label?: string[] | undefined;
  trigger?: string | undefined;
  since?: keyof typeof SPANS | undefined;
  after?: string | undefined;
  before?: string | undefined;
};

export function readFilters(search: Record<string, unknown>): Filters {
  const since = textOf(search["since"]);
  return {
    state: some(listOf(search["state"]).filter((state) => (STATES as readonly string[]).includes(state))),
    function: some(listOf(search["function"])),
    label: some(listOf(search["label"]).filter((label) => label.includes("="))),
    trigger: textOf(search["trigger"]),
    since: since !== undefined && since in SPANS ? (since as keyof typeof SPANS) : undefined,
    after: instant(search["after"]),
    before: instant(search["before"]),
  };
}

function some(list: string[]): string[] | undefined {
  return list.length > 0 ? list : undefined;
}

function instant(value: unknown): string | undefined {
  const text = textOf(value);
  return text !== undefined && !Number.isNaN(Date.parse(text)) ? new Date(text).toISOString() : undefined;
}

export function isFiltered(filters: Filters): boolean {
  return Object.values(filters).some((value) => value !== undefined);
}

/** The query of `GET E/jobs`. `now` is when the list was begun: every page of it must ask for the same. */
export function queryOf(filters: Filters, now: number): URLSearchParams {
  const query = new URLSearchParams();
  for (const state of filters.state ?? []) query.append("state", state);
  for (const name of filters.function ?? []) query.append("function", name);
  for (const label of filters.label ?? []) {
    const [key = "", ...value] = label.split("=");
    query.append(`label.${key}`, value.join("="));
  }
  if (filters.trigger) query.append("trigger_id", filters.trigger);
  const { after, before } = instantsOf(filters, now);
  if (after) query.append("created_after", after);
  if (before) query.append("created_before", before);
  return query;
}

/** The bounds on when a job was created, as instants. */
export function instantsOf(filters: Filters, now: number): { after: string | undefined; before: string | undefined } {
  const after = filters.since ? new Date(now - SPANS[filters.since] * 60_000).toISOString() : filters.after;
  return { after, before: filters.before };
}

/** The filters, narrowed to some states: of those that are chosen, or without a choice `otherwise`. Null: none is left. */
function narrowed(filters: Filters, wanted: (state: string) => boolean, otherwise: string[]): Filters | null {
  const state = filters.state ? filters.state.filter(wanted) : otherwise;
  return state.length > 0 ? { ...filters, state } : null;
}

/** Jobs that have ended; without a state chosen, those that did not complete. */
export function endedOf(filters: Filters): Filters | null {
  return narrowed(filters, isEnd, ["failed", "dead_letter", "canceled", "expired"]);
}

/** Jobs that have not ended. */
export function openOf(filters: Filters): Filters | null {
  const open = (state: string) => !isEnd(state);
  return narrowed(filters, open, STATES.filter(open));
}
