import { describe, expect, it } from "vitest";
import { drawn, firstMeter, grouped, queryOf, stepsOf, type Page, type Sum } from "./sum";

const NOW = Date.parse("2026-11-21T09:40:00Z");
const ASKED = { period: "week", step: "day", group: "" } as const;

const sum = (day: string, quantity: string, environment: string | null = null): Sum => ({ meter: "job.attempts", quantity, adjustment: "0", day, environment }) as Sum;

describe("sums of usage", () => {
  it("are asked for from where a day or an hour begins", () => {
    expect(queryOf(ASKED, NOW)).toEqual({ from: "2026-11-15", group_by: "day,meter" });
    expect(queryOf({ ...ASKED, period: "day", step: "hour", group: "project" }, NOW)).toEqual({ from: "2026-11-20T09:00:00.000Z", group_by: "project,hour,meter" });
    expect(queryOf({ ...ASKED, period: "this-month", step: "" }, NOW)).toEqual({ group_by: "meter" });
    expect(stepsOf("year").map(([step]) => step)).toEqual(["day", ""]);
  });

  it("are drawn over the whole time, the largest apart", () => {
    const environments = Array.from({ length: 7 }, (_, index) => sum("2026-11-20", String(index + 1), `e${index}`));
    const page = { from: "2026-11-19T00:00:00Z", to: "2026-11-21T10:00:00Z", items: [...environments, sum("2026-11-21", "100", "e0")] } as unknown as Page;
    const { at, lines, left } = drawn(page, "job.attempts", "day", "environment");
    expect(at).toHaveLength(3);
    expect(lines.map((line) => line.name)).toEqual(["e0", "e6", "e5", "e4", "e3"]);
    expect(lines[0]?.values).toEqual([0, 1, 100]);
    expect(left).toBe(2);
  });

  it("stay exact as text", () => {
    expect(grouped("12345678901234567890.1230")).toBe("12,345,678,901,234,567,890.1230");
    expect(grouped("-1234")).toBe("-1,234");
    expect(grouped("999")).toBe("999");
    expect(firstMeter(["api.calls", "job.attempts"])).toBe("job.attempts");
  });
});
