/** Jobs as rows of a file. Every value is as the API wrote it: no number passes through JavaScript's. */
import { textAt } from "../json/tree";

export type Format = "csv" | "jsonl";

/** Where a cell comes from, and under which heading. */
const CELLS: readonly (readonly [string, readonly string[]])[] = [
  ...["id", "function", "state", "created_at", "run_at", "started_at", "finished_at", "attempt", "priority", "tags", "labels"].map((name) => [name, [name]] as const),
  ...["submitted_by", "trigger_id", "replay_of", "replayed_by", "trace_id"].map((name) => [name, [name]] as const),
];
const BODIES: typeof CELLS = [
  ["payload", ["payload"]],
  ["result", ["result"]],
  ["error_code", ["error", "code"]],
  ["error_message", ["error", "message"]],
];
const NUMBER = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/;

/** What a file of this format begins with. */
export function headOf(format: Format, bodies: boolean): string {
  return format === "csv" ? line(columns(bodies).map(([name]) => name)) : "";
}

/** One job, given as JSON text, as a line. */
export function rowOf(format: Format, job: string, bodies: boolean): string {
  if (format === "jsonl") return `${job.replaceAll(/[\r\n]+/g, " ")}\n`; // between tokens: a string has no bare ones
  const found = textAt(job, columns(bodies).map(([, path]) => [...path]));
  return line(found.map(valueOf));
}

function columns(bodies: boolean): typeof CELLS {
  return bodies ? [...CELLS, ...BODIES] : CELLS;
}

/** Text without its quotes, nothing for null, all else as JSON. */
function valueOf(json: string | undefined): string {
  if (json === undefined || json === "null") return "";
  return json.startsWith('"') ? (JSON.parse(json) as string) : json;
}

function line(values: readonly string[]): string {
  return `${values.map(cell).join(",")}\r\n`;
}

/** A cell of RFC 4180 that no spreadsheet takes for a formula: an apostrophe goes before what begins like one and is no number. */
export function cell(value: string): string {
  const harmless = /^[=+\-@\t\r]/.test(value) && !NUMBER.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
