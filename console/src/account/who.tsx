/** Who did something: a key or a person by name, as far as the one who looks may know it; else by the end of the id. */
import { useQuery } from "@tanstack/react-query";
import { api, body, E, type Place, type Where } from "../api/client";
import { Short } from "../kit/text";
import { useMay } from "./session";

const MOST = 200;
const FRESH_MS = 60_000;

type Named = ReadonlyMap<string, string>;

/** `actor` is the API's word: `key:<id>`, `person:<id>`, `trigger:<id>`, `node:<credential>` or `system`. */
export function Who({ actor, place }: { actor: string; place: Where }) {
  const name = useNames(actor.slice(0, actor.indexOf(":")), place).get(actor);
  if (name === undefined) return <Short text={actor} />;
  return (
    <span title={actor}>
      {actor.startsWith("key:") && "key "}
      <bdi className="foreign">{name}</bdi>
    </span>
  );
}

/** The names of the newest keys or people of a place, by actor. Nobody is asked for what would be refused. */
function useNames(kind: string, place: Where): Named {
  const { org } = place;
  const environment = "environment" in place ? (place as Place) : null;
  const own = useMay(place, "ManageEnvironment").allowed;
  const all = useMay(place, "ViewOrg").allowed;
  const options = { staleTime: FRESH_MS, retry: false };
  const ofEnvironment = useQuery<Named>({
    ...options,
    queryKey: ["names", "keys", place],
    enabled: kind === "key" && environment !== null && own,
    queryFn: async () => keyNames(body(await api.GET(`${E}/keys`, { params: { path: environment!, query: { limit: MOST } } })).items),
  });
  const ofOrganization = useQuery<Named>({
    ...options,
    queryKey: ["names", "keys", org],
    enabled: kind === "key" && all,
    queryFn: async () => keyNames(body(await api.GET("/v1/orgs/{org}/api-keys", { params: { path: { org }, query: { limit: MOST } } })).items),
  });
  const people = useQuery<Named>({
    ...options,
    queryKey: ["names", "people", org],
    enabled: kind === "person" && all,
    queryFn: async () => {
      const { items } = body(await api.GET("/v1/orgs/{org}/members", { params: { path: { org }, query: { limit: MOST } } }));
      return new Map(items.map(({ person }) => [`person:${person.id}`, person.name || person.email]));
    },
  });
  return kind === "person" ? (people.data ?? NOBODY) : new Map([...(ofOrganization.data ?? NOBODY), ...(ofEnvironment.data ?? NOBODY)]);
}

const NOBODY: Named = new Map();

function keyNames(keys: readonly { id: string; name: string }[]): Named {
  return new Map(keys.map(({ id, name }) => [`key:${id}`, name]));
}
