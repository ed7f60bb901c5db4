/** Organizations, their projects and environments. */
import { queryOptions } from "@tanstack/react-query";
import { api, body, E, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";

export type Organization = Schemas["OrganizationView"];
export type Project = Schemas["ProjectView"];
export type Environment = Schemas["EnvironmentView"];

const WHOLE = { limit: 200 };
const STEPS_MS = 500;
const MOVING_MS = 2_000;

export const organizationQuery = (org: string) =>
  queryOptions<Organization, Problem>({
    queryKey: ["organization", org],
    queryFn: async () => body(await api.GET("/v1/orgs/{org}", { params: { path: { org } } })),
  });

export const projectsQuery = (org: string) =>
  queryOptions<Project[], Problem>({
    queryKey: ["projects", org],
    queryFn: async () => body(await api.GET("/v1/orgs/{org}/projects", { params: { path: { org }, query: WHOLE } })).items,
  });

/** While one of them moves it is looked at again. */
export const environmentsQuery = (org: string, project: string) =>
  queryOptions<Environment[], Problem>({
    queryKey: ["environments-of", org, project],
    queryFn: async () => {
      const path = { org, project };
      const found = body(await api.GET("/v1/orgs/{org}/projects/{project}/environments", { params: { path, query: WHOLE } })).items;
      return found.filter((one) => one.status !== "deleted");
    },
    refetchInterval: ({ state }) => (state.data?.some(isMoving) ? MOVING_MS : false),
  });

/** One with its steps, until it stands still. */
export const stepsQuery = (place: Place) =>
  queryOptions<Environment, Problem>({
    queryKey: ["steps", place],
    queryFn: async () => body(await api.GET(`${E}`, { params: { path: place } })),
    refetchInterval: ({ state }) => (state.data && !isMoving(state.data) ? false : STEPS_MS),
  });

export function isMoving({ status }: Environment): boolean {
  return status === "provisioning" || status === "deleting";
}
