/** One function: its figures, who serves it, its schemas. */
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { Json } from "../json/view";
import { nodesQuery } from "../node/model";
import { Empty, Fact, Facts, Loaded, Panel } from "../kit/panel";
import { Ago, count, duration, Foreign, State, Time } from "../kit/text";
import type { Place } from "../api/client";
import { SeriesCharts } from "../overview/charts";
import { usePlace } from "../shell/place";
import { Actions } from "./action";
import { functionQuery, isUnserved, type Function } from "./model";

export function FunctionPage() {
  const place = usePlace();
  const { function: name } = useParams({ from: "/e/$org/$project/$environment/functions/$function" });
  const query = useQuery(functionQuery(place, name));
  return (
    <div className="page">
      <p className="crumbs">
        <Link to="/e/$org/$project/$environment/functions" params={place}>
          Functions
        </Link>
      </p>
      <Loaded query={query}>{(found) => <Known found={found} place={place} />}</Loaded>
    </div>
  );
}

function Known({ found, place }: { found: Function; place: Place }) {
  return (
    <>
      <div className="title">
        <h1>
          <Foreign>{found.name}</Foreign>
        </h1>
        {found.paused && <State state="paused" />}
        <Actions found={found} place={place} />
      </div>
      {found.paused && (
        <p className="note">
          Paused by <Foreign>{found.paused.by}</Foreign> <Ago at={found.paused.since} />
          {found.paused.note && (
            <>
              : <Foreign>{found.paused.note}</Foreign>
            </>
          )}
        </p>
      )}
      {isUnserved(found) && <p className="note">Jobs wait for it, and no node that is connected has it.</p>}
      <div className="columns">
        <div>
          <SeriesCharts place={place} name={found.name} />
          <Servers found={found} place={place} />
          <Schema title="Input schema" schema={found.input_schema} />
          <Schema title="Output schema" schema={found.output_schema} />
        </div>
        <Panel title="Figures">
          <Figures found={found} place={place} />
        </Panel>
      </div>
    </>
  );
}

function Figures({ found, place }: { found: Function; place: Place }) {
  const hour = found.last_hour;
  const jobs = (state: string[], text: string) => (
    <Link to="/e/$org/$project/$environment/jobs" params={place} search={{ function: [found.name], state, since: "1h" }}>
      {text}
    </Link>
  );
  return (
    <Facts>
      <Fact name="Waiting">
        <Link to="/e/$org/$project/$environment/jobs" params={place} search={{ function: [found.name], state: ["queued", "retrying"] }}>
          {count(found.queued)}
        </Link>
        {found.oldest_waiting_at && (
          <span className="hint">
            , the oldest since <Time at={found.oldest_waiting_at} short />
          </span>
        )}
      </Fact>
      <Fact name="Running">{count(found.running)}</Fact>
      <Fact name="Slots of its nodes">{count(found.nodes.max_in_flight)}</Fact>
      <Fact name="Submitted in the last hour">{jobs([], count(hour.submitted))}</Fact>
      <Fact name="Completed in the last hour">{jobs(["completed"], count(hour.completed))}</Fact>
      <Fact name="Failed in the last hour">{jobs(["failed", "dead_letter", "expired"], count(hour.failed))}</Fact>
      <Fact name="Canceled in the last hour">{jobs(["canceled"], count(hour.canceled))}</Fact>
      <Fact name="Time to run">
        {hour.p50_ms === null || hour.p99_ms === null ? "nothing ran in the last hour" : `${duration(hour.p50_ms)} (half), ${duration(hour.p99_ms)} (99 %)`}
      </Fact>
    </Facts>
  );
}

function Servers({ found, place }: { found: Function; place: Place }) {
  const query = useQuery(nodesQuery(place));
  return (
    <Panel title="Nodes that have it">
      <Loaded query={query}>
        {(nodes) => {
          const serving = nodes.filter((node) => node.functions.some((one) => one.name === found.name));
          return serving.length === 0 ? (
            <Empty title="None that is connected" />
          ) : (
            <ul className="rows">
              {serving.map((node) => (
                <li key={node.id}>
                  <Link to="/e/$org/$project/$environment/nodes/$node" params={{ ...place, node: node.id }}>
                    <Foreign>{node.name}</Foreign>
                  </Link>
                  <span className="hint">
                    {node.in_flight} of {node.max_in_flight} slots in use
                  </span>
                  <State state={node.state} />
                </li>
              ))}
            </ul>
          );
        }}
      </Loaded>
    </Panel>
  );
}

function Schema({ title, schema }: { title: string; schema: unknown }) {
  if (schema === null || schema === undefined) return null;
  return (
    <Panel title={title}>
      <Json text={JSON.stringify(schema)} label={title} />
    </Panel>
  );
}
