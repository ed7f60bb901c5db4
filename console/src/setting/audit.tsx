/** Who did what, in an environment or a whole organization, with filters and as a file. */
import { useState } from "react";
import { Who } from "../account/who";
import { api, body, E, environmentPath, type Place, type Schemas, type Where } from "../api/client";
import { Json } from "../json/view";
import { Button, Choice, Field } from "../kit/control";
import { Download } from "../kit/download";
import { Empty, Panel } from "../kit/panel";
import { Pages, Sheet, type Page } from "../kit/pages";
import { Short, Time } from "../kit/text";

type Entry = Schemas["AuditView"];

const OUTCOMES = [
  ["", "any"],
  ["done", "done"],
  ["denied", "denied"],
  ["failed", "failed"],
] as const;
const PERIODS = [
  ["", "ever"],
  ["1", "the last hour"],
  ["24", "the last 24 hours"],
  ["168", "the last 7 days"],
  ["720", "the last 30 days"],
] as const;
const HOUR_MS = 3_600_000;

type Filters = { actor: string; action: string; target: string; outcome: (typeof OUTCOMES)[number][0]; hours: (typeof PERIODS)[number][0] };
type Query = { actor?: string; action?: string; target?: string; outcome?: string; from?: string };

function queryOf({ hours, ...given }: Filters, now: number): Query {
  const wanted = { ...given, from: hours === "" ? "" : new Date(now - Number(hours) * HOUR_MS).toISOString() };
  return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value.trim() !== ""));
}

export function Audit({ place }: { place: Place }) {
  const list = async (query: Query, cursor: string | undefined) => body(await api.GET(`${E}/audit`, { params: { path: place, query: { ...query, cursor } } }));
  return <Log title={`Audit of ${place.environment}`} place={place} path={`${environmentPath(place)}/audit`} list={list} />;
}

export function OrganizationAudit({ org }: { org: string }) {
  const list = async (query: Query, cursor: string | undefined) => body(await api.GET("/v1/orgs/{org}/audit", { params: { path: { org }, query: { ...query, cursor } } }));
  return <Log title={`Audit of ${org}`} place={{ org }} path={`/v1/orgs/${encodeURIComponent(org)}/audit`} list={list} />;
}

type LogProps = { title: string; place: Where; path: string; list: (query: Query, cursor: string | undefined) => Promise<Page<Entry>> };

function Log({ title, place, path, list }: LogProps) {
  const [given, setGiven] = useState<Filters>({ actor: "", action: "", target: "", outcome: "", hours: "" });
  const [query, setQuery] = useState<Query>({});
  const file = (format: string) => `${path}/export?${new URLSearchParams({ ...query, format })}`;
  return (
    <Panel
      title={title}
      actions={
        <>
          <Download label="Export JSON Lines" path={file("jsonl")} name="audit.jsonl" />
          <Download label="Export CSV" path={file("csv")} name="audit.csv" />
        </>
      }
    >
      <form
        className="filter-fields"
        onSubmit={(event) => {
          event.preventDefault();
          setQuery(queryOf(given, Date.now()));
        }}
      >
        <Field label="Who" value={given.actor} onChange={(actor) => setGiven({ ...given, actor })} code placeholder="person:…" />
        <Field label="What" value={given.action} onChange={(action) => setGiven({ ...given, action })} code placeholder="job.*" />
        <Field label="On" value={given.target} onChange={(target) => setGiven({ ...given, target })} code placeholder="function:…" />
        <Choice label="Outcome" value={given.outcome} options={OUTCOMES} onChange={(outcome) => setGiven({ ...given, outcome })} />
        <Choice label="Since" value={given.hours} options={PERIODS} onChange={(hours) => setGiven({ ...given, hours })} />
        <Button type="submit">Filter</Button>
      </form>
      <Pages<Entry> queryKey={["audit", path, query]} read={(cursor) => list(query, cursor)} empty={<Empty title="No entry matches" />}>
        {(entries) => (
          <Sheet label="Audit" heads={["When", "Who", "What", "On", "Outcome", "Details"]}>
            {entries.map((entry) => (
              <Row key={entry.id} entry={entry} place={place} />
            ))}
          </Sheet>
        )}
      </Pages>
    </Panel>
  );
}

function Row({ entry, place }: { entry: Entry; place: Where }) {
  return (
    <tr>
      <td>
        <Time at={entry.timestamp} short />
      </td>
      <td>
        <Who actor={entry.actor} place={place} />
      </td>
      <td>
        {entry.action}
        {entry.count > 1 && ` × ${entry.count}`}
      </td>
      <td>
        <Short text={`${entry.target_type}:${entry.target_id}`} />
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
  );
}
