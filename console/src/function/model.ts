/** Functions as their queues and nodes know them. */
import { queryOptions } from "@tanstack/react-query";
import { api, body, E, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";

export type Function = Schemas["FunctionView"];
export type Queue = Schemas["QueueView"];

const LOOK_AGAIN_MS = 3_000;

export const functionsQuery = (place: Place) =>
  queryOptions<Function[], Problem>({
    queryKey: ["functions", place],
    queryFn: async () => body(await api.GET(`${E}/functions`, { params: { path: place } })).items,
    refetchInterval: LOOK_AGAIN_MS,
  });

export const functionQuery = (place: Place, name: string) =>
  queryOptions<Function, Problem>({
    queryKey: ["function", place, name],
    queryFn: async () => body(await api.GET(`${E}/functions/{function}`, { params: { path: { ...place, function: name } } })),
    refetchInterval: LOOK_AGAIN_MS,
  });

export const queueQuery = (place: Place) =>
  queryOptions<Queue, Problem>({
    queryKey: ["queue", place],
    queryFn: async () => body(await api.GET(`${E}/queue`, { params: { path: place } })),
    refetchInterval: 2_000,
  });

/** Jobs wait for it and nothing that is connected has it. */
export function isUnserved(found: Function): boolean {
  return found.queued > 0 && found.nodes.connected === 0 && found.paused === null;
}
