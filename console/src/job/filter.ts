/** The filters of the list of jobs: in the address as people read them, and as the API wants them. */
import { listOf, textOf } from "../shell/search";
import { STATES } from "./state";

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
  const after = filters.since ? new Date(now - SPANS[filters.since] * 60_000).toISOString() : filters.after;
  if (after) query.append("created_after", after);
  if (filters.before) query.append("created_before", filters.before);
  return query;
}
