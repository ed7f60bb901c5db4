/** Who did what in this environment, with filters. */
import { useState } from "react";
import { api, body, E, type Place, type Schemas } from "../api/client";
import { Json } from "../json/view";
import { Button, Choice, Field } from "../kit/control";
import { Empty, Panel } from "../kit/panel";
import { Pages, Sheet } from "../kit/pages";
import { Foreign, Time } from "../kit/text";

type Entry = Schemas["AuditView"];
type Outcome = "" | "done" | "denied" | "failed";

const OUTCOMES = [
  ["", "any"],
  ["done", "done"],
  ["denied", "denied"],
  ["failed", "failed"],
] as const;

export function Audit({ place }: { place: Place }) {
  const [given, setGiven] = useState({ actor: "", action: "", outcome: "" as Outcome });
  const [wanted, setWanted] = useState(given);
  const query = { actor: wanted.actor || undefined, action: wanted.action || undefined, outcome: wanted.outcome || undefined };
  return (
    <Panel title={`Audit of ${place.environment}`}>
      <form
        className="filter-fields"
        onSubmit={(event) => {
          event.preventDefault();
          setWanted(given);
        }}
      >
        <Field label="Who" value={given.actor} onChange={(actor) => setGiven({ ...given, actor })} code placeholder="person:…" />
        <Field label="What" value={given.action} onChange={(action) => setGiven({ ...given, action })} code placeholder="job.*" />
        <Choice label="Outcome" value={given.outcome} options={OUTCOMES} onChange={(outcome) => setGiven({ ...given, outcome })} />
        <Button type="submit">Filter</Button>
      </form>
      <Pages<Entry>
        queryKey={["audit", place, wanted]}
        read={async (cursor) => body(await api.GET(`${E}/audit`, { params: { path: place, query: { ...query, cursor } } }))}
        empty={<Empty title="No entry matches" />}
      >
        {(entries) => (
          <Sheet label="Audit" heads={["When", "Who", "What", "On", "Outcome", "Details"]}>
            {entries.map((entry) => (
              <tr key={entry.id}>
                <td>
                  <Time at={entry.timestamp} short />
                </td>
                <td>
                  <Foreign>{entry.actor}</Foreign>
                </td>
                <td>
                  {entry.action}
                  {entry.count > 1 && ` × ${entry.count}`}
                </td>
                <td>
                  <Foreign>
                    {entry.target_type}:{entry.target_id}
                  </Foreign>
                </td>
                <td>{entry.outcome}</td>
                <td>
                  {entry.details && (
                    <details>
                      <summary>show</summary>
                      <Json text={JSON.stringify(entry.details)} label="Details" />
                    </details>
                  )}
                </td>
              </tr>
            ))}
          </Sheet>
        )}
      </Pages>
    </Panel>
  );
}
