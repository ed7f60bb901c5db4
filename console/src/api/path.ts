/** Where things are in the API. */
export const E = "/v1/orgs/{org}/projects/{project}/environments/{environment}";

/** The parts of a path below an environment. */
export type Place = { org: string; project: string; environment: string };

/** The same, as deep as it goes: an organization, a project of it, or an environment of that. */
export type Where = { org: string; project?: string; environment?: string };

export function environmentPath(place: Place): string {
  const [org, project, environment] = [place.org, place.project, place.environment].map(encodeURIComponent);
  return `/v1/orgs/${org}/projects/${project}/environments/${environment}`;
}
