/** Triggers: what makes jobs by itself, by webhook or by schedule. */
import { queryOptions } from "@tanstack/react-query";
import { api, body, E, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";

export type Trigger = Schemas["TriggerView"];
export type Firing = Schemas["FiringView"];
export type NewTrigger = Schemas["NewTrigger"];

export const triggerQuery = (place: Place, id: string) =>
  queryOptions<Trigger, Problem>({
    queryKey: ["trigger", place, id],
    queryFn: async () => body(await api.GET(`${E}/triggers/{trigger}`, { params: { path: { ...place, trigger: id } } })),
  });

/** When it fires, in words. */
export function whenOf(trigger: Trigger): string {
  if (trigger.kind === "webhook") return `webhook, ${trigger.verify?.scheme ?? ""}`;
  const { cron, timezone, every_seconds: every } = trigger.schedule ?? { cron: null, timezone: null, every_seconds: null };
  return cron ? `${cron} (${timezone ?? "UTC"})` : `every ${every ?? "?"} s`;
}

export function functionOf(trigger: Trigger): string {
  return String((trigger.job as { function?: string }).function ?? "");
}
