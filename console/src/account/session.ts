/** Signing in and out, and what the one who is signed in may do where. */
import { useQuery, type QueryClient } from "@tanstack/react-query";
import { api, body, send, type Schemas, type Where } from "../api/client";
import { current, forget, use } from "../api/credential";
import { Problem } from "../api/problem";

export type WhoAmI = Schemas["WhoAmIView"];

let asked: Promise<void> | null = null;

/** Find out whether a cookie of an earlier page speaks for somebody. Asked once in the life of a page. */
export function resume(): Promise<void> {
  asked ??= current() === null ? resumeSession() : Promise.resolve();
  return asked;
}

async function resumeSession(): Promise<void> {
  // Not through `api`: that there is no session yet is no failure.
  const response = await send(new Request(new URL("/v1/sessions/current", location.origin)));
  if (!response.ok) return;
  const session = (await response.json()) as Schemas["SignedInView"];
  if (session.csrf_token) use({ kind: "session", csrf: session.csrf_token });
}

/** Sign in with a key; throws the Problem of one that is refused. */
export async function signInWithKey(key: string): Promise<WhoAmI> {
  use({ kind: "key", key });
  try {
    return body(await api.GET("/v1/whoami"));
  } catch (error) {
    forget();
    throw error;
  }
}

export async function signInWithPassword(email: string, password: string): Promise<WhoAmI> {
  forget();
  const session = body(await api.POST("/v1/sessions", { body: { email, password, token: false } }));
  use({ kind: "session", csrf: session.csrf_token ?? "" });
  return body(await api.GET("/v1/whoami"));
}

/** Ends the session, or forgets the key; what was read with it is thrown away. */
export async function signOut(client: QueryClient): Promise<void> {
  if (current()?.kind === "session") {
    try {
      await api.DELETE("/v1/sessions/current");
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) throw error;
    }
  }
  forget();
  client.clear();
}

export function useWhoAmI() {
  return useQuery<WhoAmI, Problem>({ queryKey: ["whoami"], queryFn: async () => body(await api.GET("/v1/whoami")) });
}

export type Allowed = { allowed: boolean; reason: string };

/** Whether a permission is there in an environment, or a project or organization, and why not. While that is not known: not. */
export function useMay(place: Where, permission: string): Allowed {
  const query = useQuery<WhoAmI, Problem>({
    queryKey: ["whoami", place],
    queryFn: async () => body(await api.GET("/v1/whoami", { params: { query: place } })),
  });
  const found = query.data?.permissions.find((explained) => explained.permission === permission);
  return { allowed: found?.allowed ?? false, reason: found?.reason ?? "" };
}
