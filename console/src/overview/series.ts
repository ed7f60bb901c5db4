/** Sums and rates of minutes. */
import type { Schemas } from "../api/client";

export type Minute = Schemas["MinuteView"];

const MINUTE_MS = 60_000;

/** `ended` is all ends: completed, canceled, and failed in one way or another. */
export type Sums = { submitted: number; started: number; completed: number; failed: number; canceled: number; ended: number };

export function sumsOf(minutes: readonly Minute[]): Sums {
  const sum = (name: Exclude<keyof Sums, "ended">) => minutes.reduce((total, minute) => total + minute[name], 0);
  const [completed, failed, canceled] = [sum("completed"), sum("failed"), sum("canceled")];
  return { submitted: sum("submitted"), started: sum("started"), completed, failed, canceled, ended: completed + failed + canceled };
}

/** Ends a second in the minute that runs and the one before it; `now` in milliseconds. */
export function rateOf(minutes: readonly Minute[], now: number): number {
  const [before, last] = minutes.slice(-2);
  if (before === undefined || last === undefined) return 0;
  const seconds = Math.min(Math.max(now - Date.parse(before.at), MINUTE_MS), 2 * MINUTE_MS) / 1000;
  return sumsOf([before, last]).ended / seconds;
}

/** The newest minute of which a time is known. */
export function latest(minutes: readonly Minute[], kind: "start" | "run"): { p50: number; p99: number } | null {
  for (const minute of minutes.toReversed()) {
    const [p50, p99] = [minute[`${kind}_p50_ms`], minute[`${kind}_p99_ms`]];
    if (p50 !== null && p99 !== null) return { p50, p99 };
  }
  return null;
}
