/** The jobs that the filters let through, all of them: read page by page, counted and chosen. */
import { environmentPath, raw, type Place, type Schemas } from "../api/client";
import { persistently } from "../api/again";
import { instantsOf, queryOf, type Filters } from "./filter";
import type { Page } from "./model";

/** As many as a bulk replay takes. */
export const MOST = 10_000;
const PAGE = 200;

/** Filters as a bulk replay takes them; `now` as for the list. */
export function replayOf(filters: Filters, now: number): Omit<Schemas["NewReplay"], "dry_run"> {
  const { after, before } = instantsOf(filters, now);
  return {
    state: filters.state,
    ...(filters.function ? { function: filters.function } : {}),
    ...(filters.label ? { label: filters.label } : {}),
    ...(filters.trigger ? { trigger_id: filters.trigger } : {}),
    ...(after ? { created_after: after } : {}),
    ...(before ? { created_before: before } : {}),
  };
}

/** The pages of these jobs as they are written, newest first. A gateway that is away is waited for. */
export async function* pagesOf(place: Place, filters: Filters, now: number, signal: AbortSignal): AsyncGenerator<string> {
  const query = queryOf(filters, now);
  query.set("limit", String(PAGE));
  for (let next: string | null = ""; next !== null; ) {
    if (next) query.set("cursor", next);
    const text: string = await persistently(() => raw(`${environmentPath(place)}/jobs?${query}`, { signal }), signal);
    yield text;
    next = (JSON.parse(text) as Page).next_cursor;
  }
}

/** What a count found. `more`: there are older ones beyond the bound. */
export type Counted = { matched: number; more: boolean; by_function: Record<string, number>; by_state: Record<string, number> };

export const NONE: Counted = { matched: 0, more: false, by_function: {}, by_state: {} };

/** Up to MOST of these jobs: their ids, newest first, and how many of what. `told` follows. */
export async function choose(place: Place, filters: Filters, now: number, signal: AbortSignal, told: (so_far: number) => void): Promise<{ ids: string[]; counted: Counted }> {
  const ids: string[] = [];
  const counted: Counted = { ...NONE, by_function: {}, by_state: {} };
  for await (const text of pagesOf(place, filters, now, signal)) {
    const page = JSON.parse(text) as Page;
    for (const job of page.items.slice(0, MOST - ids.length)) {
      ids.push(job.id);
      counted.by_function[job.function] = (counted.by_function[job.function] ?? 0) + 1;
      counted.by_state[job.state] = (counted.by_state[job.state] ?? 0) + 1;
    }
    counted.matched = ids.length;
    told(ids.length);
    if (ids.length === MOST) {
      counted.more = page.next_cursor !== null;
      break;
    }
  }
  return { ids, counted };
}
