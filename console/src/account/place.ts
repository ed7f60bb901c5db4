/** The organizations, projects and environments that a credential sees. */
import { api, body, type Place, type Schemas } from "../api/client";
import type { WhoAmI } from "./session";

export type Seen = Place & { names: { org: string; project: string; environment: string }; posture: string | null; status: string | null };

const WHOLE = { query: { limit: 200 } };

/** Every environment in sight, in the order of the tree. */
export async function environmentsOf(whoami: WhoAmI): Promise<Seen[]> {
  const found = await Promise.all(whoami.roles.map(environmentsOfRole));
  const unique = new Map(found.flat().map((seen) => [`${seen.org}/${seen.project}/${seen.environment}`, seen]));
  return [...unique.values()].sort((a, b) => key(a).localeCompare(key(b)));
}

function key(seen: Seen): string {
  return `${seen.org}/${seen.project}/${seen.environment}`;
}

type Named = Schemas["NamedView"];

async function environmentsOfRole(role: WhoAmI["roles"][number]): Promise<Seen[]> {
  const { organization, project, environment } = role;
  if (environment && project) return [seenOf(organization, project, environment)];
  if (project) return environmentsOfProject(organization, project);
  const path = { org: organization.slug };
  const projects = body(await api.GET("/v1/orgs/{org}/projects", { params: { path, ...WHOLE } }));
  return (await Promise.all(projects.items.map((one) => environmentsOfProject(organization, one)))).flat();
}

async function environmentsOfProject(organization: Named, project: { slug: string; name: string }): Promise<Seen[]> {
  const path = { org: organization.slug, project: project.slug };
  const answer = await api.GET("/v1/orgs/{org}/projects/{project}/environments", { params: { path, ...WHOLE } });
  const listed = body(answer).items.filter((environment) => environment.status !== "deleted");
  return listed.map((environment) => ({ ...seenOf(organization, project, environment), posture: environment.posture, status: environment.status }));
}

type Titled = { slug: string; name: string };

function seenOf(organization: Titled, project: Titled, environment: Titled): Seen {
  return {
    org: organization.slug,
    project: project.slug,
    environment: environment.slug,
    names: { org: organization.name, project: project.name, environment: environment.name },
    posture: null,
    status: null,
  };
}
