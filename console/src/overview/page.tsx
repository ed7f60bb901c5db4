/** How the environment is doing, and what needs somebody. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { api, body, E, environmentPath, raw, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { functionsQuery, isUnserved, queueQuery, type Function, type Queue } from "../function/model";
import { Empty, Loaded, Panel } from "../kit/panel";
import { Sheet } from "../kit/pages";
import { Ago, count, duration, Foreign, plural } from "../kit/text";
import { fleetOf, nodesQuery } from "../node/model";
import { usePlace } from "../shell/place";
import type { Subscription } from "../subscription/list";
import { SeriesCharts } from "./charts";
import { seriesQuery } from "./model";
import { latest, rateOf, sumsOf } from "./series";

const MOST = 200;
const LEFT = "the node left"; // it said goodbye
const HOUR_MS = 60 * 60_000;

export function OverviewPage() {
  const place = usePlace();
  const queue = useQuery(queueQuery(place));
  const functions = useQuery(functionsQuery(place));
  return (
    <div className="page">
      <h1>Overview</h1>
      <Attention place={place} functions={functions.data ?? []} />
      <Loaded query={queue}>{(found) => <Figures queue={found} place={place} />}</Loaded>
      <SeriesCharts place={place} name={null} />
      <Panel title="Functions in the last hour">
        <Loaded query={functions}>{(found) => <Hour functions={found} place={place} />}</Loaded>
      </Panel>
    </div>
  );
}

function Figures({ queue, place }: { queue: Queue; place: Place }) {
  const nodes = useQuery(nodesQuery(place));
  const series = useQuery(seriesQuery(place, null));
  const fleet = nodes.data && fleetOf(nodes.data);
  const connected = fleet?.relays.flatMap(([, members]) => members) ?? [];
  const sums = series.data && sumsOf(series.data);
  const ended = sums?.ended ?? 0;
  const start = series.data && latest(series.data, "start");
  return (
    <ul className="figures">
      <Figure name="Waiting" value={count(queue.states.waiting)}>
        {queue.oldest_waiting_at ? (
          <>
            oldest <Ago at={queue.oldest_waiting_at} since />
          </>
        ) : (
          "nothing waits"
        )}
      </Figure>
      <Figure name="Running" value={count(queue.states.running)}>
        of {plural(connected.reduce((sum, node) => sum + node.max_in_flight, 0), "slot")}
      </Figure>
      <Figure name="Ended, last hour" value={sums ? count(ended) : "…"}>
        {series.data && `${rate(rateOf(series.data, series.dataUpdatedAt))} now`}
      </Figure>
      <Figure name="Of these failed" value={sums ? count(sums.failed) : "…"}>
        {sums && (ended === 0 ? "nothing ended" : `${((sums.failed / ended) * 100).toFixed(1)} %`)}
      </Figure>
      <Figure name="Half start within" value={start ? duration(start.p50) : "–"}>
        {start ? `99 % within ${duration(start.p99)}` : "nothing started"}
      </Figure>
      <Figure name="Nodes" value={fleet ? count(connected.length) : "…"}>
        {fleet ? `at ${plural(fleet.relays.length, "relay")}` : ""}
      </Figure>
    </ul>
  );
}

function rate(value: number): string {
  return `${value < 10 ? value.toFixed(1) : count(Math.round(value))}/s`;
}

function Figure({ name, value, children }: { name: string; value: string; children: ReactNode }) {
  return (
    <li className="figure">
      <span className="hint">{name}</span>
      <b>{value}</b>
      <span className="hint">{children}</span>
    </li>
  );
}

type Found = { items: { id: string }[]; next_cursor: string | null };

/** Jobs in these states of the last hour: how many, up to a page of them. */
function useRecent(place: Place, state: string) {
  return useQuery<{ number: number; more: boolean }, Problem>({
    queryKey: ["recent", place, state],
    queryFn: async ({ signal }) => {
      const after = encodeURIComponent(new Date(Date.now() - HOUR_MS).toISOString());
      const page = JSON.parse(await raw(`${environmentPath(place)}/jobs?state=${state}&created_after=${after}&limit=${MOST}`, { signal })) as Found;
      return { number: page.items.length, more: page.next_cursor !== null };
    },
    refetchInterval: 10_000,
  });
}

/** What needs somebody, worst first; each line leads to it. */
function Attention({ place, functions }: { place: Place; functions: Function[] }) {
  const dead = useRecent(place, "dead_letter");
  const nodes = useQuery(nodesQuery(place));
  const subscriptions = useQuery<Subscription[], Problem>({
    queryKey: ["subscriptions-all", place],
    queryFn: async () => body(await api.GET(`${E}/subscriptions`, { params: { path: place, query: { limit: MOST } } })).items,
    refetchInterval: 10_000,
  });
  const recently = Date.now() - HOUR_MS;
  const lost = fleetOf(nodes.data ?? []).lost.filter((node) => Date.parse(node.disconnected_at ?? node.last_seen_at) > recently && node.disconnect_reason !== LEFT);
  const lines: ReactNode[] = [];
  if (dead.data && dead.data.number > 0) {
    lines.push(
      <Link to="/e/$org/$project/$environment/jobs" params={place} search={{ state: ["dead_letter"], since: "1h" }}>
        {dead.data.more ? `${MOST} or more dead letters` : plural(dead.data.number, "dead letter")}
      </Link>,
    );
  }
  for (const one of functions.filter(isUnserved)) {
    lines.push(
      <Link to="/e/$org/$project/$environment/jobs" params={place} search={{ function: [one.name], state: ["queued"] }}>
        {plural(one.queued, "job waits", "jobs wait")} for <Foreign>{one.name}</Foreign>, which no connected node has
      </Link>,
    );
  }
  for (const one of functions.filter((found) => found.paused !== null)) {
    lines.push(
      <Link to="/e/$org/$project/$environment/functions/$function" params={{ ...place, function: one.name }}>
        <Foreign>{one.name}</Foreign> is paused{one.queued > 0 && ` and ${plural(one.queued, "job waits", "jobs wait")}`}
      </Link>,
    );
  }
  for (const one of (subscriptions.data ?? []).filter((found) => !found.enabled && found.disabled_reason !== "asked")) {
    lines.push(
      <Link to="/e/$org/$project/$environment/subscriptions/$subscription" params={{ ...place, subscription: one.id }}>
        Deliveries to <Foreign>{one.url}</Foreign> are disabled
      </Link>,
    );
  }
  for (const node of lost.slice(0, 5)) {
    lines.push(
      <Link to="/e/$org/$project/$environment/nodes/$node" params={{ ...place, node: node.id }}>
        The node <Foreign>{node.name}</Foreign> was lost <Ago at={node.disconnected_at ?? node.last_seen_at} />
      </Link>,
    );
  }
  if (lines.length === 0) return null;
  return (
    <Panel title="Needs attention">
      <ul className="rows attention">
        {lines.map((line, index) => (
          <li key={index}>{line}</li>
        ))}
      </ul>
    </Panel>
  );
}

const HOUR_HEADS = ["Function", ...["Submitted", "Completed", "Failed", "Canceled", "Run p50", "Run p99"].map((number) => ({ number }))];

function Hour({ functions, place }: { functions: Function[]; place: Place }) {
  const active = functions.filter((one) => one.last_hour.submitted + one.last_hour.completed + one.last_hour.failed + one.last_hour.canceled > 0);
  if (active.length === 0) {
    return (
      <Empty title="No job was submitted or ended">
        <p className="hint">Counts and times of each function show up here.</p>
      </Empty>
    );
  }
  return (
    <Sheet label="Counts and times of each function" heads={HOUR_HEADS}>
      {active.map(({ name, last_hour: hour }) => (
        <tr key={name}>
          <th scope="row">
            <Link to="/e/$org/$project/$environment/functions/$function" params={{ ...place, function: name }}>
              <Foreign>{name}</Foreign>
            </Link>
          </th>
          <td className="number">{count(hour.submitted)}</td>
          <td className="number">{count(hour.completed)}</td>
          <td className="number">{count(hour.failed)}</td>
          <td className="number">{count(hour.canceled)}</td>
          <td className="number">{hour.p50_ms === null ? "" : duration(hour.p50_ms)}</td>
          <td className="number">{hour.p99_ms === null ? "" : duration(hour.p99_ms)}</td>
        </tr>
      ))}
    </Sheet>
  );
}
