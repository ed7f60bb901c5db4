/** What was used, as a chart of one meter and a table of all, of an environment or a whole organization. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body, E, environmentPath, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { Chart } from "../kit/chart";
import { Choice } from "../kit/control";
import { Download } from "../kit/download";
import { Empty, Loaded, Panel } from "../kit/panel";
import { Sheet, type Head } from "../kit/pages";
import { Breakable, compact, Foreign, Time } from "../kit/text";
import { drawn, firstMeter, grouped, nameOf, PERIODS, queryOf, stepsOf, type Asked, type Page, type Query, type Sum } from "./sum";

const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
const HOUR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const HOUR_MS = 3_600_000;
const GROUPS = [
  ["", "nothing else"],
  ["environment", "environment"],
  ["project", "project"],
] as const;
const MOST_ROWS = 500;

export function Usage({ place }: { place: Place }) {
  const read = async (query: Query) => body(await api.GET(`${E}/usage`, { params: { path: place, query } }));
  return <Sums path={`${environmentPath(place)}/usage`} title={`Usage of ${place.environment}`} read={read} groups={false} />;
}

export function OrganizationUsage({ org }: { org: string }) {
  const read = async (query: Query) => body(await api.GET("/v1/orgs/{org}/usage", { params: { path: { org }, query } }));
  return <Sums path={`/v1/orgs/${encodeURIComponent(org)}/usage`} title={`Usage of ${org}`} read={read} groups />;
}

type SumsProps = { path: string; title: string; groups: boolean; read: (query: Query) => Promise<Page> };

function Sums({ path, title, groups, read }: SumsProps) {
  const [asked, ask] = useState<Asked>({ period: "this-month", step: "day", group: "" });
  const [shown, show] = useState("");
  const query = queryOf(asked, Math.floor(Date.now() / HOUR_MS) * HOUR_MS);
  const found = useQuery<Page, Problem>({
    queryKey: ["usage", path, query],
    queryFn: () => read(query),
    placeholderData: keepPreviousData,
    refetchInterval: 10_000,
  });
  const meters = [...new Set(found.data?.items.map((sum) => sum.meter))].sort();
  const meter = meters.includes(shown) ? shown : firstMeter(meters);
  const change = (part: Partial<Asked>) => {
    const next = { ...asked, ...part };
    const steps = stepsOf(next.period).map(([step]) => step);
    ask(steps.includes(next.step) ? next : { ...next, step: "day" });
  };
  return (
    <Panel title={title} actions={<Download label="Download CSV" path={`${path}?${new URLSearchParams({ ...query, format: "csv" })}`} name="usage.csv" />}>
      <div className="filter-fields">
        <Choice label="Of" value={asked.period} options={PERIODS} onChange={(period) => change({ period })} />
        <Choice label="Told apart" value={asked.step} options={stepsOf(asked.period)} onChange={(step) => change({ step })} />
        {groups && <Choice label="and by" value={asked.group} options={GROUPS} onChange={(group) => change({ group })} />}
        {meters.length > 0 && asked.step !== "" && <Choice label="In the chart" value={meter} options={meters.map((one) => [one, one] as const)} onChange={show} />}
      </div>
      <Loaded query={found}>
        {(page) =>
          page.items.length === 0 ? (
            <Empty title="Nothing was used in this time">
              <p className="hint">What happens is added up within seconds.</p>
            </Empty>
          ) : (
            <>
              {page.group_by.includes(asked.step) && <OverTime page={page} asked={asked} meter={meter} />}
              <Table sums={page.items} by={page.group_by} />
            </>
          )
        }
      </Loaded>
    </Panel>
  );
}

function OverTime({ page, asked: { step, group }, meter }: { page: Page; asked: Asked; meter: string }) {
  const time = (second: number) => (step === "hour" ? HOUR : DAY).format(second * 1000);
  const { at, lines, left } = drawn(page, meter, step, group);
  return (
    <>
      <Chart
        at={at}
        lines={lines.map((line) => ({ ...line, look: lines.length === 1 ? "bars" : "line" }))}
        format={compact}
        time={time}
        utc={step === "day"}
        label={`${meter} of each ${step}; the table below has every number`}
      />
      {left > 0 && <p className="hint">And {left} smaller ones, which the table has.</p>}
    </>
  );
}

const COLUMNS: Record<string, string> = { day: "Day (UTC)", hour: "Hour", project: "Project", environment: "Environment" };

function Table({ sums, by }: { sums: Sum[]; by: readonly string[] }) {
  const told = by.filter((one) => one in COLUMNS);
  const isLate = sums.some((sum) => sum.adjustment !== "0");
  const heads: Head[] = [...told.map((one) => COLUMNS[one] ?? one), "Meter", { number: "Quantity" }, ...(isLate ? [{ number: "Of it late" }] : [])];
  return (
    <>
      <div className="tall">
        <Sheet label="Sums" heads={heads}>
          {sums.slice(0, MOST_ROWS).map((sum) => (
            <tr key={`${sum.day} ${sum.hour} ${sum.project_id} ${sum.environment_id} ${sum.meter}`}>
              {told.map((one) => (
                <td key={one}>
                  <Cell sum={sum} of={one} />
                </td>
              ))}
              <th scope="row">
                <Breakable text={sum.meter} />
              </th>
              <td className="number">{grouped(sum.quantity)}</td>
              {isLate && <td className="number">{sum.adjustment === "0" ? "" : grouped(sum.adjustment)}</td>}
            </tr>
          ))}
        </Sheet>
      </div>
      {sums.length > MOST_ROWS && (
        <p className="hint">
          These are the latest {MOST_ROWS} of {sums.length} sums; the CSV has all.
        </p>
      )}
    </>
  );
}

function Cell({ sum, of }: { sum: Sum; of: string }) {
  if (of === "day") return sum.day;
  if (of === "hour") return <Time at={sum.hour ?? ""} />;
  return <Foreign>{nameOf(sum, of === "project" ? "project" : "environment")}</Foreign>;
}
