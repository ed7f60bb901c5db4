/** The limits that are in force, and where each comes from. */
import { useQuery } from "@tanstack/react-query";
import type { Place } from "../api/client";
import { Loaded, Panel } from "../kit/panel";
import { Sheet } from "../kit/pages";
import { bytes, count } from "../kit/text";
import { environmentQuery } from "../organization/model";

export function Limits({ place }: { place: Place }) {
  const query = useQuery(environmentQuery(place));
  return (
    <Loaded query={query}>
      {({ value }) => <LimitsPanel limits={value.limits as Record<string, number>} sources={value.limit_sources as Record<string, string>} />}
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
            <td className="number">
              {count(value)}
              {name.endsWith("_bytes") && <div className="hint">{bytes(value)}</div>}
            </td>
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
