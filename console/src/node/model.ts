/** Compute nodes and the credentials with which they join. */
import { queryOptions } from "@tanstack/react-query";
import { api, body, E, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";

export type Node = Omit<Schemas["NodeView"], "functions"> & { functions: { name: string; max_in_flight: number }[] };
export type Credential = Schemas["CredentialView"];

const LOOK_AGAIN_MS = 3_000;
const MOST = 200;

export const nodesQuery = (place: Place) =>
  queryOptions<Node[], Problem>({
    queryKey: ["nodes", place],
    queryFn: async () =>
      body(await api.GET(`${E}/nodes`, { params: { path: place, query: { limit: MOST, state: ["active", "draining", "lost"] } } })).items as Node[],
    refetchInterval: LOOK_AGAIN_MS,
  });

export const nodeQuery = (place: Place, id: string) =>
  queryOptions<Node, Problem>({
    queryKey: ["node", place, id],
    queryFn: async () => body(await api.GET(`${E}/nodes/{node}`, { params: { path: { ...place, node: id } } })) as Node,
    refetchInterval: LOOK_AGAIN_MS,
  });

export const credentialsQuery = (place: Place) =>
  queryOptions<Credential[], Problem>({
    queryKey: ["credentials", place],
    queryFn: async () => body(await api.GET(`${E}/node-credentials`, { params: { path: place, query: { limit: MOST } } })).items,
  });

/** Connected ones by relay, and those that were lost or left lately. */
export function fleetOf(nodes: readonly Node[]): { relays: [string, Node[]][]; lost: Node[] } {
  const relays = new Map<string, Node[]>();
  for (const node of nodes) {
    if (node.state === "lost") continue;
    const relay = node.relay ?? "none";
    relays.set(relay, [...(relays.get(relay) ?? []), node]);
  }
  return { relays: [...relays].sort(([a], [b]) => a.localeCompare(b)), lost: nodes.filter((node) => node.state === "lost") };
}
