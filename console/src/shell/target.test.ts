import { expect, it } from "vitest";
import { sameIn } from "./target";

const place = { org: "o", project: "p", environment: "other" };

it("keeps section, filters and names, and leaves ids behind", () => {
  for (const [pathname, search, wanted] of [
    ["/e/a/b/c/overview", "", "overview"],
    ["/e/a/b/c", "", "overview"],
    ["/e/a/b/c/jobs", "?state=failed&state=expired&label=order%3DA%3D1&trigger=01a1&since=1h", "jobs?state=failed&state=expired&label=order%3DA%3D1&since=1h"],
    ["/e/a/b/c/jobs/01a1ff07-0000-7000-8000-000000000000", "", "jobs"],
    ["/e/a/b/c/nodes/01a1ff07-0000-7000-8000-000000000000", "", "nodes"],
    ["/e/a/b/c/functions/image.thumbnail", "", "functions/image.thumbnail"],
    ["/e/a/b/c/settings/audit", "", "settings/audit"],
    ["/e/a/b/c/subscriptions/01a1ff07-0000-7000-8000-000000000000", "", "triggers"],
  ] as const) {
    expect(sameIn(place, pathname, search)).toBe(`/e/o/p/other/${wanted}`);
  }
});
