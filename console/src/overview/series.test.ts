import { describe, expect, it } from "vitest";
import { latest, rateOf, sumsOf, type Minute } from "./series";

const FIRST = Date.parse("2026-11-21T09:00:00Z");

function minute(index: number, more: Partial<Minute>): Minute {
  const nothing = { start_p50_ms: null, start_p99_ms: null, starts_seen: 0, run_p50_ms: null, run_p99_ms: null, runs_seen: 0 };
  return { at: new Date(FIRST + index * 60_000).toISOString(), submitted: 0, started: 0, completed: 0, failed: 0, canceled: 0, waiting: 0, running: 0, ...nothing, ...more };
}

const MINUTES = [minute(0, { completed: 600, run_p50_ms: 10, run_p99_ms: 90 }), minute(1, { completed: 80, failed: 10 }), minute(2, { completed: 30, failed: 0 })];

describe("the last hour", () => {
  it("is summed up", () => {
    expect(sumsOf(MINUTES)).toEqual({ submitted: 0, started: 0, completed: 710, failed: 10, canceled: 0, ended: 720 });
  });

  it("has a rate of the last minute and the part of one that runs", () => {
    expect(rateOf(MINUTES, FIRST + 120_000 + 20_000)).toBe(120 / 80);
    expect(rateOf(MINUTES, FIRST + 120_000 - 5_000)).toBe(2); // this clock is behind
    expect(rateOf([], FIRST)).toBe(0);
  });

  it("knows the newest times there are", () => {
    expect(latest(MINUTES, "run")).toEqual({ p50: 10, p99: 90 });
    expect(latest(MINUTES, "start")).toBeNull();
  });
});
