/** The limits that are in force, and where each comes from. */
import { useQuery } from "@tanstack/react-query";
import { api, body, E, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";
import { Fact, Facts, Loaded, Panel } from "../kit/panel";
import { Sheet } from "../kit/pages";
import { count, State, Time } from "../kit/text";

type Environment = Schemas["EnvironmentView"];

export function Limits({ place }: { place: Place }) {
  const query = useQuery<Environment, Problem>({
    queryKey: ["environment", place],
    queryFn: async () => body(await api.GET(`${E}`, { params: { path: place } })),
  });
  return (
    <Loaded query={query}>
      {(found) => (
        <>
          <Panel title="Environment">
            <Facts>
              <Fact name="Name">
                <bdi>{found.name}</bdi> <State state={found.status} />
              </Fact>
              <Fact name="Posture">{found.posture}</Fact>
              <Fact name="Kept in">{found.backend}</Fact>
              <Fact name="Created">
                <Time at={found.created_at} />
              </Fact>
            </Facts>
          </Panel>
          <LimitsPanel limits={found.limits as Record<string, number>} sources={found.limit_sources as Record<string, string>} />
        </>
      )}
    </Loaded>
  );
}

export function LimitsPanel({ limits, sources }: { limits: Record<string, number>; sources: Record<string, string> }) {
  return (
    <Panel title="Limits">
      <Sheet label="Limits" heads={["What", { number: "At most" }, "From"]}>
        {Object.entries(limits).map(([name, value]) => (
          <tr key={name}>
            <th scope="row">{name.replaceAll("_", " ")}</th>
            <td className="number">{count(value)}</td>
            <td>{sources[name] ?? ""}</td>
          </tr>
        ))}
      </Sheet>
      <p className="hint">
        The operator raises them with <code>waypost admin limits</code>.
      </p>
    </Panel>
  );
}
