/** Jobs as rows of a file. What is JSON of others is as it is written: none of its numbers passes through JavaScript's. */
import { textAt } from "../json/tree";

export type Format = "csv" | "jsonl";

const CELLS = [
  "id", "function", "state", "created_at", "run_at", "started_at", "finished_at", "attempt", "priority", "tags", "labels",
  "submitted_by", "trigger_id", "replay_of", "replayed_by", "trace_id",
] as const;
/** Payload and result as JSON: the text `"12"` is not the number 12. */
const BODIES = ["payload", "result"];
const ERROR = ["code", "message"];
const NUMBER = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/;

/** What a file of this format begins with. */
export function headOf(format: Format, bodies: boolean): string {
  if (format === "jsonl") return "";
  return line([...CELLS, ...(bodies ? [...BODIES, ...ERROR.map((name) => `error_${name}`)] : [])]);
}

/** One job, given as JSON text, as a line. */
export function rowOf(format: Format, job: string, bodies: boolean): string {
  if (format === "jsonl") return `${job.replaceAll(/[\r\n]+/g, " ")}\n`; // between tokens: a string has no bare ones
  const known = JSON.parse(job) as Record<string, unknown> & { error?: Record<string, unknown> | null };
  const cells = CELLS.map((name) => plain(known[name])); // small whole numbers, texts, and lists and objects of texts
  if (!bodies) return line(cells);
  const exact = textAt(job, BODIES.map((name) => [name]));
  return line([...cells, ...exact.map((text) => text ?? ""), ...ERROR.map((name) => plain(known.error?.[name]))]);
}

function plain(value: unknown): string {
  return value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);
}

function line(values: readonly string[]): string {
  return `${values.map(cell).join(",")}\r\n`;
}

/** A cell of RFC 4180 that no spreadsheet takes for a formula: an apostrophe goes before what begins like one and is no number. */
export function cell(value: string): string {
  const harmless = /^[=+\-@\t\r]/.test(value) && !NUMBER.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
