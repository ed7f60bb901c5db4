/** Who did something: a key or a person by name, as far as the one who looks may know it; else by the end of the id. */
import { useQuery } from "@tanstack/react-query";
import { api, body, E, type Place, type Where } from "../api/client";
import { Short } from "../kit/text";
import { useMay } from "./session";

const MOST = 200;
const FRESH_MS = 60_000;

type Names = ReadonlyMap<string, string>;

/** `actor` is the API's word: `key:<id>`, `person:<id>`, `trigger:<id>`, `node:<credential>` or `system`. */
export function Who({ actor, place }: { actor: string; place: Where }) {
  const isKey = actor.startsWith("key:");
  const name = useName(actor, isKey, place);
  if (name === undefined) return <Short text={actor} />;
  return (
    <span title={actor}>
      {isKey && "key "}
      <bdi className="foreign">{name}</bdi>
    </span>
  );
}

/** The name of a key or person among the newest of a place. Nobody is asked for what would be refused. */
function useName(actor: string, isKey: boolean, place: Where): string | undefined {
  const { org } = place;
  const environment = "environment" in place ? (place as Place) : null;
  const own = useMay(place, "ManageEnvironment").allowed;
  const all = useMay(place, "ViewOrg").allowed;
  const options = { staleTime: FRESH_MS, retry: false };
  const ofEnvironment = useQuery<Names>({
    ...options,
    queryKey: ["names", "keys", place],
    enabled: isKey && environment !== null && own,
    queryFn: async () => keyNames(body(await api.GET(`${E}/keys`, { params: { path: environment!, query: { limit: MOST } } })).items),
  });
  const ofOrganization = useQuery<Names>({
    ...options,
    queryKey: ["names", "keys", org],
    enabled: isKey && all,
    queryFn: async () => keyNames(body(await api.GET("/v1/orgs/{org}/api-keys", { params: { path: { org }, query: { limit: MOST } } })).items),
  });
  const people = useQuery<Names>({
    ...options,
    queryKey: ["names", "people", org],
    enabled: actor.startsWith("person:") && all,
    queryFn: async () => {
      const { items } = body(await api.GET("/v1/orgs/{org}/members", { params: { path: { org }, query: { limit: MOST } } }));
      return new Map(items.map(({ person }) => [`person:${person.id}`, person.name || person.email]));
    },
  });
  return ofEnvironment.data?.get(actor) ?? ofOrganization.data?.get(actor) ?? people.data?.get(actor);
}

function keyNames(keys: readonly { id: string; name: string }[]): Names {
  return new Map(keys.map(({ id, name }) => [`key:${id}`, name]));
}
