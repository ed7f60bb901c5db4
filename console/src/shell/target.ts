/** Where the switcher leads: the same page of another environment, as far as it means something there. */
import type { Place } from "../api/path";
import { readSearch, writeSearch } from "./search";

const NAMED_ALIKE = new Set(["functions", "settings"]); // what follows means the same everywhere; ids do not
const LIST_OF: Record<string, string> = { subscriptions: "triggers" };

/** The address in `place` that is to it what `pathname` and `search` are to the environment that they lie in. */
export function sameIn({ org, project, environment }: Place, pathname: string, search: string): string {
  const [section = "overview", one] = pathname.split("/").slice(5);
  const below = one !== undefined && NAMED_ALIKE.has(section) ? `/${one}` : "";
  const { trigger: _, ...filters } = readSearch(search);
  return `/e/${org}/${project}/${environment}/${LIST_OF[section] ?? section}${below}${one === undefined ? writeSearch(filters) : ""}`;
}
