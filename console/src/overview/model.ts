/** The last hour of an environment or a function, minute by minute, as the API tells it. */
import { queryOptions } from "@tanstack/react-query";
import { api, body, E, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import type { Minute } from "./series";

const LOOK_AGAIN_MS = 5_000; // as long as the gateway keeps an answer

/** Of all functions, or of one. */
export const seriesQuery = (place: Place, name: string | null) =>
  queryOptions<Minute[], Problem>({
    queryKey: ["series", place, name],
    queryFn: async () => body(await api.GET(`${E}/queue/series`, { params: { path: place, query: name === null ? {} : { function: name } } })).minutes,
    refetchInterval: LOOK_AGAIN_MS,
  });
