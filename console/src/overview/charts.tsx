/** The last hour as four small charts, and as a table for those who would rather read it. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import type { Place } from "../api/client";
import { Chart, type Line } from "../kit/chart";
import { Loaded, Panel } from "../kit/panel";
import { Sheet } from "../kit/pages";
import { compact, count, duration, Time } from "../kit/text";
import { seriesQuery } from "./model";
import { latest, sumsOf, type Minute } from "./series";

/** Of all functions of an environment, or of one. */
export function SeriesCharts({ place, name }: { place: Place; name: string | null }) {
  const query = useQuery(seriesQuery(place, name));
  return <Loaded query={query}>{(minutes) => <Charts minutes={minutes} />}</Loaded>;
}

function Charts({ minutes }: { minutes: Minute[] }) {
  const at = useMemo(() => minutes.map((minute) => Date.parse(minute.at) / 1000), [minutes]);
  const of = (value: (minute: Minute) => number | null) => minutes.map(value);
  const sums = sumsOf(minutes);
  const now = minutes.at(-1);
  return (
    <>
      <div className="charts">
        <Panel title="Jobs a minute">
          <Chart
            at={at}
            format={compact}
            label={`Jobs a minute in the last hour: ${count(sums.submitted)} submitted, ${count(sums.completed)} completed, ${count(sums.failed)} failed, ${count(sums.canceled)} canceled`}
            lines={[
              { name: "ended", values: of((minute) => minute.completed + minute.failed + minute.canceled), color: "--accent", look: "bars" },
              { name: "failed", values: of((minute) => minute.failed), color: "--bad", look: "bars" },
              { name: "submitted", values: of((minute) => minute.submitted), color: "--busy" },
            ]}
          />
        </Panel>
        <Panel title="Queue depth">
          <Chart
            at={at}
            format={compact}
            label={`Jobs that waited and ran at the end of each minute of the last hour; now ${count(now?.waiting ?? 0)} wait and ${count(now?.running ?? 0)} run`}
            lines={[
              { name: "waiting", values: of((minute) => minute.waiting), color: "--warn", look: "area" },
              { name: "running", values: of((minute) => minute.running), color: "--busy" },
            ]}
          />
        </Panel>
        <Times minutes={minutes} at={at} kind="start" title="Time to start" />
        <Times minutes={minutes} at={at} kind="run" title="Time to run" />
      </div>
      <Numbers minutes={minutes} />
    </>
  );
}

type TimesProps = { minutes: Minute[]; at: number[]; kind: "start" | "run"; title: string };

function Times({ minutes, at, kind, title }: TimesProps) {
  const newest = latest(minutes, kind);
  const told = newest === null ? "nothing is known of the last hour" : `last ${duration(newest.p50)} and ${duration(newest.p99)}`;
  const lines: Line[] = [
    { name: "half within", values: minutes.map((minute) => minute[`${kind}_p50_ms`]), color: "--accent" },
    { name: "99 % within", values: minutes.map((minute) => minute[`${kind}_p99_ms`]), color: "--warn", look: "dashed" },
  ];
  return (
    <Panel title={title}>
      <Chart at={at} format={duration} label={`${title} in each minute of the last hour, half and 99 % of the jobs within: ${told}`} lines={lines} />
    </Panel>
  );
}

const NUMBERS = ["Submitted", "Started", "Completed", "Failed", "Canceled", "Waiting", "Running", "Start p50", "Start p99", "Run p50", "Run p99"];
const HEADS = ["Minute", ...NUMBERS.map((number) => ({ number }))];

function Numbers({ minutes }: { minutes: Minute[] }) {
  const took = (value: number | null) => (value === null ? "" : duration(value));
  return (
    <details className="numbers">
      <summary>The last hour as a table</summary>
      <Sheet label="The last hour, minute by minute" heads={HEADS}>
        {minutes.toReversed().map((minute) => (
          <tr key={minute.at}>
            <th scope="row">
              <Time at={minute.at} short />
            </th>
            <td className="number">{count(minute.submitted)}</td>
            <td className="number">{count(minute.started)}</td>
            <td className="number">{count(minute.completed)}</td>
            <td className="number">{count(minute.failed)}</td>
            <td className="number">{count(minute.canceled)}</td>
            <td className="number">{count(minute.waiting)}</td>
            <td className="number">{count(minute.running)}</td>
            <td className="number">{took(minute.start_p50_ms)}</td>
            <td className="number">{took(minute.start_p99_ms)}</td>
            <td className="number">{took(minute.run_p50_ms)}</td>
            <td className="number">{took(minute.run_p99_ms)}</td>
          </tr>
        ))}
      </Sheet>
    </details>
  );
}
