import { describe, expect, it } from "vitest";
import { canPreview, commonOf, draftOf, faultAt, NEW, settingsOf } from "./draft";
import type { Trigger } from "./model";

const SCHEDULE = {
  kind: "schedule",
  name: "nightly",
  job: { function: "a.b", tags: ["gpu", "region in (eu, us)"], priority: 7, concurrency: null, labels: { a: "b" } },
  schedule: { every_seconds: 90 },
  overlap: "skip",
  catch_up: "last",
  jitter_seconds: 2.5,
} as unknown as Trigger;

describe("a trigger in a form", () => {
  it("goes out as it came in", () => {
    const draft = draftOf(SCHEDULE);
    expect(commonOf(draft)).toEqual({ name: "nightly", job: { function: "a.b", tags: ["gpu", "region in (eu, us)"], priority: 7, labels: { a: "b" } } });
    expect(settingsOf(draft)).toEqual({ schedule: { every_seconds: 90 }, overlap: "skip", catch_up: "last", jitter_seconds: 2.5 });
  });

  it("sends of a scheme what it knows, and null for what is empty", () => {
    const hmac = { ...NEW, kind: "webhook" as const, scheme: "hmac" as const, header: " X-Signature ", prefix: "sha256=", map: " " };
    expect(settingsOf(hmac)).toEqual({ verify: { scheme: "hmac", header: "X-Signature", algorithm: "sha256", encoding: "hex", prefix: "sha256=" }, filter: null, map: null, rate_per_second: 1000 });
    expect(settingsOf({ ...hmac, scheme: "github" })["verify"]).toEqual({ scheme: "github" });
  });

  it("is asked about only when there is something to ask about", () => {
    expect(canPreview(NEW)).toBe(false);
    expect(canPreview({ ...NEW, cron: "* * * * *" })).toBe(true);
    expect(canPreview({ ...NEW, kind: "webhook", scheme: "hmac" })).toBe(false);
  });

  it("sends what is no number as it is, to be refused where it lies", () => {
    expect(settingsOf({ ...NEW, timing: "every", every: "soon" })["schedule"]).toEqual({ every_seconds: "soon" });
    expect(faultAt([{ path: "/job/tags/0", code: "x", message: "no" }], "/job/tags")).toBe("no");
    expect(faultAt([{ path: "/job/tags/0", code: "x", message: "no" }], "/job/tag")).toBeUndefined();
  });
});
