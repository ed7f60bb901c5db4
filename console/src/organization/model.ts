/** Organizations, their projects and environments. */
import { queryOptions } from "@tanstack/react-query";
import { api, body, E, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";
import { tagged, type Tagged } from "../kit/edit";

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

/** One, with the tag that a change of it names. */
export const environmentQuery = (place: Place) =>
  queryOptions<Tagged<Environment>, Problem>({
    queryKey: ["environment", place],
    queryFn: async () => tagged(await api.GET(`${E}`, { params: { path: place } })),
  });

/** One with its steps, until it stands still or is gone. */
export const stepsQuery = (place: Place) =>
  queryOptions<Environment, Problem>({
    queryKey: ["steps", place],
    queryFn: async () => body(await api.GET(`${E}`, { params: { path: place } })),
    refetchInterval: ({ state }) => (state.error?.status === 404 || (state.data && !isMoving(state.data)) ? false : STEPS_MS),
  });

/** Whether it is on its way: its status changes at once, its steps are done after that. */
export function isMoving({ status, steps = [] }: Pick<Environment, "status" | "steps">): boolean {
  if (status === "failed") return false;
  return status === "provisioning" || status === "deleting" || steps.some((step) => step.state !== "done");
}
