/** A small chart over time. What it shows is also said in words beside it: the canvas is a picture. */
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export type Line = { name: string; values: number[]; color: string };

const HEIGHT = 150;
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export function Chart({ at, lines, label }: { at: number[]; lines: Line[]; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const names = lines.map((line) => line.name).join("|");
  const colors = lines.map((line) => line.color).join("|");
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const axis = { stroke: resolve(element, "--soft"), grid: { stroke: resolve(element, "--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        axes: [{ ...axis, space: 90, values: (_, at) => at.map((second) => CLOCK.format(second * 1000)) }, { ...axis, size: 46 }],
        scales: { y: { range: (_, __, max) => [0, Math.max(1, max * 1.1)] } },
        series: [{}, ...names.split("|").map((name, index) => ({ label: name, stroke: resolve(element, colors.split("|")[index] ?? ""), width: 2, points: { show: false } }))],
      },
      [[], ...names.split("|").map(() => [])],
      element,
    );
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [names, colors]);
  useEffect(() => plot.current?.setData([at, ...lines.map((line) => line.values)]));
  return (
    <>
      <div ref={box} className="chart" role="img" aria-label={label} style={{ height: HEIGHT }} />
      {lines.length > 1 && (
        <p className="legend hint">
          {lines.map((line) => (
            <span key={line.name} style={{ borderColor: `var(${line.color})` }}>
              {line.name}
            </span>
          ))}
        </p>
      )}
    </>
  );
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
