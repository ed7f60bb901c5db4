/** What happened to a job, in order: waiting and attempts, to scale. */
import { Fragment } from "react";
import { Json } from "../json/view";
import { duration, Foreign, State, Time, useNow } from "../kit/text";
import type { Attempt, Job } from "./model";
import { isEnd } from "./state";

export type Span = { kind: "waiting" | "attempt"; from: number; to: number | null; attempt?: Attempt };

/** Waiting and attempts, one after the other; `to` null is what goes on. */
export function spansOf(job: Pick<Job, "created_at" | "finished_at" | "state" | "run_at">, attempts: readonly Attempt[]): Span[] {
  const spans: Span[] = [];
  let at = Date.parse(job.created_at);
  for (const attempt of attempts) {
    const start = Date.parse(attempt.started_at);
    if (start > at) spans.push({ kind: "waiting", from: at, to: start });
    const to = attempt.finished_at === null ? null : Date.parse(attempt.finished_at);
    spans.push({ kind: "attempt", from: start, to, attempt });
    at = to ?? start;
  }
  const open = attempts.at(-1)?.finished_at === null;
  if (!open && !isEnd(job.state)) spans.push({ kind: "waiting", from: at, to: null });
  const finished = job.finished_at === null ? null : Date.parse(job.finished_at);
  if (isEnd(job.state) && attempts.length === 0 && finished !== null) spans.push({ kind: "waiting", from: at, to: finished });
  return spans;
}

export function Timeline({ job, attempts }: { job: Job; attempts: Attempt[] }) {
  const spans = spansOf(job, attempts);
  const goesOn = spans.some((span) => span.to === null);
  const now = useNow();
  const first = Date.parse(job.created_at);
  const last = goesOn ? Math.max(now, first + 1) : Math.max(...spans.map((span) => span.to ?? first), first + 1);
  return (
    <ol className="timeline">
      <li className="event">
        <span className="what">Accepted</span>
        <span className="when">
          <Time at={job.created_at} short />
        </span>
      </li>
      {spans.map((span, index) => (
        <Fragment key={index}>
          <li className={`span of-${span.kind}`}>
            <span className="what">{span.attempt ? <AttemptLine attempt={span.attempt} /> : "Waiting"}</span>
            <Bar span={span} first={first} last={last} />
            <span className="when">{duration((span.to ?? Math.max(now, span.from)) - span.from)}</span>
          </li>
          {span.attempt?.error && <AttemptError attempt={span.attempt} />}
          {span.attempt?.answer_refused_at && <LateAnswer attempt={span.attempt} at={span.attempt.answer_refused_at} />}
        </Fragment>
      ))}
      {job.finished_at && (
        <li className="event">
          <span className="what">
            <State state={job.state} />
          </span>
          <span className="when">
            <Time at={job.finished_at} short />
          </span>
        </li>
      )}
    </ol>
  );
}

function AttemptLine({ attempt }: { attempt: Attempt }) {
  return (
    <>
      <b>Attempt {attempt.number}</b> <State state={attempt.outcome ?? "running"} />
      <span className="hint">
        {attempt.node_name !== null && (
          <>
            on <Foreign>{attempt.node_name}</Foreign>
          </>
        )}
        {attempt.relay !== null && ` via ${attempt.relay}`}
      </span>
    </>
  );
}

function AttemptError({ attempt }: { attempt: Attempt }) {
  if (!attempt.error) return null;
  return (
    <li className="attempt-error">
      <code>{attempt.error.code}</code> <Foreign>{attempt.error.message}</Foreign>
    </li>
  );
}

/** The node went on with an attempt that had been given up: its answer met the fence. */
function LateAnswer({ attempt, at }: { attempt: Attempt; at: string }) {
  const late = Date.parse(at) - Date.parse(attempt.finished_at ?? at);
  return (
    <li className="attempt-late hint">
      Fenced: its answer came {duration(late)} later, at <Time at={at} short />, and was refused. The attempt had been given up.
    </li>
  );
}

function Bar({ span, first, last }: { span: Span; first: number; last: number }) {
  const share = (at: number) => `${(Math.min(Math.max(at - first, 0), last - first) / (last - first)) * 100}%`;
  const to = span.to ?? last;
  return (
    <span className="bar" aria-hidden="true">
      <i style={{ left: share(span.from), right: `calc(100% - ${share(to)})` }} />
    </span>
  );
}

/** An error with its stack, when it has one. */
export function ErrorView({ job }: { job: Job }) {
  const error = job.error;
  if (!error) return null;
  const stack = stackOf(job.details);
  return (
    <div className="error-view">
      <p>
        <code>{error.code}</code> <Foreign>{error.message}</Foreign>
      </p>
      <p className="hint">{error.retryable ? "It may help to try again." : "Trying again does not help, the function says."}</p>
      {stack !== null ? (
        <pre className="code scroll" tabIndex={0} aria-label="Stack">
          {stack}
        </pre>
      ) : (
        job.details !== undefined && job.details !== "null" && <Json text={job.details} label="Details of the error" />
      )}
    </div>
  );
}

/** The traceback that the SDK puts into an error's details: text, or a list of lines. */
export function stackOf(details: string | undefined): string | null {
  if (details === undefined) return null;
  const found = (JSON.parse(details) as { traceback?: unknown } | null)?.traceback;
  if (Array.isArray(found) && found.every((line) => typeof line === "string")) return found.join("\n");
  return typeof found === "string" ? found : null;
}
