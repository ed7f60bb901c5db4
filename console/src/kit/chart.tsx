/** A chart over time. The canvas is a picture: what it shows is said in words too, and stands in a table beside it. */
import { useEffect, useRef, useState, type CSSProperties } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { alone, isKnown, type Value } from "./points";

export type Look = "line" | "dashed" | "area" | "bars";
export type Line = { name: string; values: (number | null)[]; color: string; look?: Look };

type Props = {
  /** Seconds since 1970, ascending; every line has a value for each. */
  at: number[];
  lines: Line[];
  /** What it shows, in a sentence, for those who do not see it. */
  label: string;
  format: (value: number) => string;
  time?: (second: number) => string;
  /** Whether its days begin where those of UTC do. */
  utc?: boolean;
};

const HEIGHT = 140;
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const SCHEME = matchMedia("(prefers-color-scheme: dark)");

const tzDate = (second: number) => uPlot.tzDate(new Date(second * 1000), "Etc/UTC");
const clock = (second: number) => CLOCK.format(second * 1000);

export function Chart({ at, lines, label, format, time = clock, utc = false }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const words = useRef({ format, time });
  const [under, setUnder] = useState<number | null>(null);
  const isDark = useDark();
  const shape = JSON.stringify(lines.map(({ name, color, look }) => [name, color, look ?? "line"]));
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const made = new uPlot({ ...options(element, JSON.parse(shape) as Shape, words.current, setUnder), ...(utc ? { tzDate } : {}) }, undefined, element);
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, isDark, utc]);
  useEffect(() => {
    words.current.format = format;
    words.current.time = time;
    plot.current?.setData([at, ...lines.map((line) => line.values)]);
  });
  const shown = under !== null && under < at.length ? under : at.findLastIndex((_, index) => lines.some((line) => isKnown(line.values[index])));
  return (
    <>
      <div ref={box} className="chart" role="img" aria-label={label} style={{ height: HEIGHT }} />
      <p className="legend hint" aria-hidden="true">
        {lines.map((line) => (
          <span key={line.name} className={line.look ?? "line"} style={{ "--mark": `var(${line.color})` } as CSSProperties}>
            {line.name} <b>{valueOf(line.values[shown], format)}</b>
          </span>
        ))}
        <span className="moment">{shown >= 0 && time(at[shown] ?? 0)}</span>
      </p>
    </>
  );
}

function valueOf(value: Value, format: (value: number) => string): string {
  return value === null || value === undefined ? "–" : format(value);
}

type Shape = [name: string, color: string, look: Look][];

function options(element: HTMLElement, shape: Shape, words: Pick<Required<Props>, "format" | "time">, onMove: (index: number | null) => void): uPlot.Options {
  const axis = { stroke: resolve(element, "--soft"), grid: { stroke: resolve(element, "--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const hasBars = shape.some(([, , look]) => look === "bars");
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [8, 20, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false } },
    hooks: { setCursor: [(self) => onMove(self.cursor.idx ?? null)] },
    axes: [
      { ...axis, space: (_, __, ___, last) => 35 + widthOfText(words.time(last)), size: 26, grid: { show: false }, filter: ofData, values: (_, at) => at.map((one) => (one === null ? "" : words.time(one))) },
      { ...axis, space: 34, size: widthOf, values: (_, values) => values.map((value) => (value === null ? "" : words.format(value))) },
    ],
    scales: {
      x: { range: (self, min, max) => widened(self.data[0], hasBars, min, max) },
      y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] },
    },
    series: [{}, ...shape.map(([label, color, look]) => ({ label, ...drawn(resolve(element, color), look) }))],
  };
}

const HALF_HOUR = 1800;

/** With room for half a bar at both ends; a single instant, as on a month's first day, is in the middle. */
function widened(at: ArrayLike<number>, hasBars: boolean, min: number, max: number): [number, number] {
  const [first = 0, second] = [at[0], at[1]];
  if (second === undefined) return [first - HALF_HOUR, first + HALF_HOUR];
  const half = hasBars ? (second - first) / 2 : 0;
  return [min - half, max + half];
}

/** Only instants that have a value are named: those between two days would be named alike. */
function ofData({ data: [at] }: uPlot, splits: number[]): (number | null)[] {
  const known = new Set(at);
  return splits.map((one) => (known.has(one) ? one : null));
}

/** As wide as its longest label. */
function widthOf(_: uPlot, values: string[] | null): number {
  return 14 + Math.max(21, ...(values ?? []).map(widthOfText));
}

/** In pixels, near enough. */
function widthOfText(text: string): number {
  return 7 * text.length;
}

function drawn(color: string, look: Look): Partial<uPlot.Series> {
  const base = { stroke: color, width: 2 };
  if (look === "bars") return { ...base, width: 0, fill: color, points: { show: false }, ...barsPath() };
  if (look === "area") return { ...base, fill: color.replace("rgb(", "rgba(").replace(")", ", 0.14)"), points: { show: false } };
  return { ...base, points: { show: true, size: 5, fill: color, filter: (self: uPlot, index: number) => alone(self.data[index] ?? []) }, ...(look === "dashed" ? { dash: [5, 4] } : {}) };
}

function barsPath(): Partial<uPlot.Series> {
  const paths = uPlot.paths.bars?.({ size: [0.75, 40], align: 0 });
  return paths ? { paths } : {};
}

/** A colour of ours as a canvas takes it: light or dark is decided here. */
function resolve(element: HTMLElement, name: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

/** Whether the system asks for dark: a canvas keeps the colours that it was painted with. */
function useDark(): boolean {
  const [isDark, setDark] = useState(SCHEME.matches);
  useEffect(() => {
    const change = () => setDark(SCHEME.matches);
    SCHEME.addEventListener("change", change);
    return () => SCHEME.removeEventListener("change", change);
  }, []);
  return isDark;
}
