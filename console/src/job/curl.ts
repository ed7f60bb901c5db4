/** A job as a command that submits it again. */
import { environmentPath, type Place } from "../api/path";
import type { Job } from "./model";

/** The body of a submission that asks for the same; payload exactly as it is written. */
export function submission(job: Job): string {
  const { function: name, tags, priority, timeout_seconds, expires_in_seconds, retry, concurrency, labels } = job;
  const rest = { tags, priority, timeout_seconds, retry, labels, ...(expires_in_seconds === null ? {} : { expires_in_seconds }), ...(concurrency ? { concurrency } : {}) };
  const payload = job.payload === undefined ? "" : `"payload":${job.payload},`;
  return `{"function":${JSON.stringify(name)},${payload}${JSON.stringify(rest).slice(1)}`;
}

export function curl(origin: string, place: Place, job: Job): string {
  return [
    `curl -s -X POST ${quoted(`${origin}${environmentPath(place)}/jobs`)}`,
    `-H "Authorization: Bearer $WAYPOST_KEY"`,
    `-H 'Content-Type: application/json'`,
    `--data-raw ${quoted(submission(job))}`,
  ].join(" \\\n  ");
}

/** One word of a POSIX shell, whatever is in the text. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
