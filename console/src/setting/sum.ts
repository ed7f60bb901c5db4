/** Sums of usage: what is asked for, and what a chart shows of the answer. Quantities are exact and stay text. */
import type { Schemas } from "../api/client";

export type Sum = Schemas["UsageView"];
export type Page = Schemas["UsagePage"];
export type Period = "day" | "week" | "month" | "this-month" | "year";
export type Step = "day" | "hour" | "";
export type Group = "" | "project" | "environment";
export type Asked = { period: Period; step: Step; group: Group };
export type Query = { from?: string; group_by: string };

export const PERIODS = [
  ["this-month", "this month"],
  ["day", "the last 24 hours"],
  ["week", "the last 7 days"],
  ["month", "the last 30 days"],
  ["year", "the last 365 days"],
] as const;

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const DAYS: Record<Period, number> = { day: 1, week: 7, month: 30, year: 365, "this-month": 0 };
const MOST_LINES = 5;
const COLORS = ["--accent", "--busy", "--warn", "--bad", "--wait"];

/** The query of an answer; sums are kept by the hour, so times are whole hours and days in UTC. */
export function queryOf(asked: Asked, now: number): Query {
  const group_by = [asked.group, asked.step, "meter"].filter(Boolean).join(",");
  const days = DAYS[asked.period];
  if (asked.period === "day") return { group_by, from: new Date(Math.floor((now - DAY_MS) / HOUR_MS) * HOUR_MS).toISOString() };
  return days ? { group_by, from: new Date(now - (days - 1) * DAY_MS).toISOString().slice(0, 10) } : { group_by };
}

/** Sums by hour cannot be asked for of more than 32 days. */
export function stepsOf(period: Period): readonly (readonly [Step, string])[] {
  const steps = [["day", "by day"], ["hour", "by hour"], ["", "all together"]] as const;
  return period === "year" ? steps.filter(([step]) => step !== "hour") : steps;
}

export type Drawn = { at: number[]; lines: { name: string; values: (number | null)[]; color: string }[]; left: number };

/** One meter's sums over the whole time, a line for each project or environment; the largest of them when there are many. */
export function drawn(page: Page, meter: string, step: Step, group: Group): Drawn {
  const own = page.items.filter((sum) => sum.meter === meter);
  const at = momentsOf(page, step === "hour" ? HOUR_MS : DAY_MS);
  const names = new Map<string, number>();
  for (const sum of own) names.set(nameOf(sum, group), (names.get(nameOf(sum, group)) ?? 0) + Number(sum.quantity));
  const largest = [...names].sort(([, a], [, b]) => b - a).map(([name]) => name);
  const lines = largest.slice(0, MOST_LINES).map((name, index) => {
    const values = new Map(own.filter((sum) => nameOf(sum, group) === name).map((sum) => [atOf(sum), Number(sum.quantity)]));
    return { name, values: at.map((moment) => values.get(moment) ?? 0), color: COLORS[index] ?? "--soft" };
  });
  return { at, lines, left: Math.max(0, largest.length - MOST_LINES) };
}

/** Where each day or hour begins, also those of which there is no sum. */
function momentsOf({ from, to }: Page, step: number): number[] {
  const at: number[] = [];
  for (let moment = Math.floor(Date.parse(from) / step) * step; moment < Date.parse(to); moment += step) at.push(moment / 1000);
  return at;
}

function atOf(sum: Sum): number {
  return Date.parse(sum.hour ?? `${sum.day}T00:00:00Z`) / 1000;
}

export function nameOf(sum: Sum, group: Group): string {
  if (group === "") return sum.meter;
  return (group === "project" ? sum.project : sum.environment) ?? "(none)";
}

/** An exact decimal as the reader's language groups it; every digit stays. */
export function grouped(quantity: string): string {
  const digits = quantity.split(".")[1]?.length ?? 0;
  const format = new Intl.NumberFormat(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return format.format(quantity as Intl.StringNumericLiteral);
}

/** The meter to begin with: attempts, if there were any. */
export function firstMeter(meters: readonly string[]): string {
  return meters.includes("job.attempts") ? "job.attempts" : (meters[0] ?? "");
}
