import { describe, expect, it } from "vitest";
import { writeSearch, readSearch } from "../shell/search";
import { quoted, submission } from "./curl";
import { queryOf, readFilters } from "./filter";
import type { Attempt, Job } from "./model";
import { spansOf, stackOf } from "./timeline";

describe("filters", () => {
  it("go into an address and come back", () => {
    const filters = readFilters({ state: ["failed", "bogus"], function: "a.b", label: ["order=A=1", "bad"], since: "1h", before: "never" });
    expect(filters).toEqual({ state: ["failed"], function: ["a.b"], label: ["order=A=1"], since: "1h" });
    expect(readFilters(readSearch(writeSearch(filters)))).toEqual(filters);
  });

  it("ask the API for the same on every page", () => {
    const now = Date.parse("2026-11-21T12:00:00Z");
    const query = queryOf(readFilters({ state: ["failed", "expired"], label: ["order=A=1"], since: "1h" }), now);
    expect([...query]).toEqual([
      ["state", "failed"],
      ["state", "expired"],
      ["label.order", "A=1"],
      ["created_after", "2026-11-21T11:00:00.000Z"],
    ]);
  });
});

const attempt = (number: number, started: string, finished: string | null): Attempt => ({
  number, id: String(number), node: null, node_name: "n", relay: "r", started_at: started, finished_at: finished, outcome: finished && "failed", answer_refused_at: null,
});

describe("the timeline", () => {
  const created_at = "2026-11-21T12:00:00Z";
  const at = (seconds: number) => new Date(Date.parse(created_at) + seconds * 1000).toISOString();

  it("has waiting before, between and after attempts", () => {
    const job = { created_at, state: "retrying" as const, finished_at: null, run_at: null };
    const spans = spansOf(job, [attempt(1, at(1), at(2)), attempt(2, at(5), at(6))]);
    expect(spans.map((span) => [span.kind, span.to === null])).toEqual([
      ["waiting", false], ["attempt", false], ["waiting", false], ["attempt", false], ["waiting", true],
    ]);
  });

  it("ends with the attempt that runs, or with a wait that was cut short", () => {
    expect(spansOf({ created_at, state: "running", finished_at: null, run_at: null }, [attempt(1, at(0), null)]).map((s) => s.kind)).toEqual(["attempt"]);
    expect(spansOf({ created_at, state: "canceled", finished_at: at(9), run_at: null }, [])).toEqual([
      { kind: "waiting", from: Date.parse(created_at), to: Date.parse(created_at) + 9000 },
    ]);
  });

  it("finds a traceback among an error's details", () => {
    expect(stackOf('{"traceback":"Traceback…"}')).toBe("Traceback…");
    expect(stackOf('{"traceback":["a","b"]}')).toBe("a\nb");
    expect(stackOf("null")).toBeNull();
    expect(stackOf(undefined)).toBeNull();
  });
});

describe("copy as curl", () => {
  it("is one shell word, and the payload is as it was written", () => {
    expect(quoted("it's $HOME")).toBe(`'it'\\''s $HOME'`);
    const job = {
      function: "a.b", payload: '{"n": 12345678901234567890, "m": 1.50}', tags: ["gpu"], priority: 5, timeout_seconds: 300,
      expires_in_seconds: null, retry: { max_attempts: 5 }, concurrency: null, labels: {},
    } as unknown as Job;
    expect(submission(job)).toBe(
      '{"function":"a.b","payload":{"n": 12345678901234567890, "m": 1.50},"tags":["gpu"],"priority":5,"timeout_seconds":300,"retry":{"max_attempts":5},"labels":{}}',
    );
  });
});
