/** The API as typed functions. Refuses: requests to other hosts, credentials in addresses, answers that are no answers. */
import createClient, { type Middleware } from "openapi-fetch";
import { note } from "./connection";
import { current, forget } from "./credential";
import { away, problemOf, type Problem } from "./problem";
import type { components, paths } from "./schema";

export { E, environmentPath, type Place, type Where } from "./path";

export type Schemas = components["schemas"];

const ENDED = new Set(["invalid_session", "invalid_credential", "expired_credential", "missing_credential"]);

/** `fetch` with this tab's credential; throws a Problem when no answer comes. */
export async function send(request: Request): Promise<Response> {
  const credential = current();
  const headers = new Headers(request.headers);
  if (credential?.kind === "key") headers.set("authorization", `Bearer ${credential.key}`);
  if (credential?.kind === "session" && request.method !== "GET") headers.set("x-csrf-token", credential.csrf);
  // Without a key the cookie speaks; with one it must not.
  const credentials = credential?.kind === "key" ? "omit" : "same-origin";
  let response: Response;
  try {
    response = await fetch(new Request(request, { headers, credentials, cache: "no-store", redirect: "error" }));
  } catch (error) {
    if (request.signal.aborted) throw error;
    note(false);
    throw away();
  }
  note(true);
  return response;
}

/** The problem of a refused answer. A credential that is over is forgotten: the page then asks for another one. */
export async function refusal(response: Response): Promise<Problem> {
  const body: unknown = await response.json().catch(() => null);
  const problem = problemOf(response.status, body, response.headers.get("x-request-id"));
  if (response.status === 401 && ENDED.has(problem.code) && current() !== null) forget({ detail: problem.message });
  if (problem.code === "csrf_token_missing") forget({ detail: "Somebody signed in or out in another tab. Sign in again." });
  return problem;
}

const throwing: Middleware = {
  async onResponse({ response }) {
    if (!response.ok) throw await refusal(response);
    return undefined;
  },
};

export const api = createClient<paths>({ baseUrl: location.origin, fetch: send });
api.use(throwing);

/** The body of an answer that is there when the request succeeded. */
export function body<T>(answer: { data?: T | undefined }): T {
  return answer.data as T;
}

/** A fresh value for `Idempotency-Key`. Also where randomUUID is not: on http:// by another name than localhost. */
export function onceKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A request by its whole path, for bodies that must go out or come in as they are written. */
export async function raw(path: string, init: RequestInit = {}): Promise<string> {
  const response = await send(new Request(new URL(path, location.origin), init));
  if (!response.ok) throw await refusal(response);
  return response.text();
}
