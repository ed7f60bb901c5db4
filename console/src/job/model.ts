/** Jobs as the API answers them; what is JSON of others stays text. */
import { queryOptions } from "@tanstack/react-query";
import { api, body, E, environmentPath, raw, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";
import { textAt } from "../json/tree";

export type Listed = Schemas["JobView"];
export type Page = { items: Listed[]; next_cursor: string | null };
export type Attempt = Schemas["AttemptView"];
export type JobState = Listed["state"];

/** One job. `payload`, `result` and `details` of its error are as they are written, or undefined when not shown. */
export type Job = Omit<Listed, "payload" | "result"> & { payload: string | undefined; result: string | undefined; details: string | undefined };

export function readJob(text: string): Job {
  const job = JSON.parse(text) as Listed;
  const exact = textAt(text, [["payload"], ["result"], ["error", "details"]]);
  const [payload, result, details] = exact;
  return { ...job, payload, result: result === "null" && !hasResult(job) ? undefined : result, details };
}

function hasResult(job: Listed): boolean {
  return job.state === "completed";
}

export function jobPath(place: Place, id: string): string {
  return `${environmentPath(place)}/jobs/${encodeURIComponent(id)}`;
}

export const jobQuery = (place: Place, id: string) =>
  queryOptions<Job, Problem>({
    queryKey: ["job", place, id],
    queryFn: async ({ signal }) => readJob(await raw(jobPath(place, id), { signal })),
  });

export const attemptsQuery = (place: Place, id: string) =>
  queryOptions<Attempt[], Problem>({
    queryKey: ["attempts", place, id],
    queryFn: async () => body(await api.GET(`${E}/jobs/{job}/attempts`, { params: { path: { ...place, job: id } } })).items,
  });
