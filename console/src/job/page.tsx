/** One job: what happened, what went in, what came out, and what can be done. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useEffect, useState, type ReactNode } from "react";
import { useMay } from "../account/session";
import { Who } from "../account/who";
import type { Place } from "../api/client";
import { follow, type ProgressEvent } from "../api/events";
import { Json } from "../json/view";
import { Empty, Fact, Facts, Loaded, Panel } from "../kit/panel";
import { Copy, duration, Foreign, State, Time } from "../kit/text";
import { usePlace } from "../shell/place";
import { Actions } from "./action";
import { Artifacts } from "./artifact";
import { Log } from "./log";
import { attemptsQuery, jobPath, jobQuery, type Job } from "./model";
import { Origin } from "./origin";
import { isEnd } from "./state";
import { ErrorView, Timeline } from "./timeline";
import { Waiting } from "./waiting";

const LOOK_AGAIN_MS = 3_000; // why it waits changes without an event of its own

export function JobPage() {
  const place = usePlace();
  const { job } = useParams({ from: "/e/$org/$project/$environment/jobs/$job" });
  return <JobOf key={job} place={place} id={job} />;
}

function JobOf({ place, id }: { place: Place; id: string }) {
  const query = useQuery({
    ...jobQuery(place, id),
    refetchInterval: (found) => (found.state.data && !isEnd(found.state.data.state) ? LOOK_AGAIN_MS : false),
  });
  return (
    <div className="page">
      <p className="crumbs">
        <Link to="/e/$org/$project/$environment/jobs" params={place}>
          Jobs
        </Link>
      </p>
      <Loaded query={query}>{(job) => <Known job={job} place={place} />}</Loaded>
    </div>
  );
}

/** Follows the job's events: a state reads the job again, progress is the last that was told. */
function useProgress(place: Place, job: Job): ProgressEvent | null {
  const client = useQueryClient();
  const [progress, setProgress] = useState<ProgressEvent | null>(null);
  const ended = isEnd(job.state);
  const path = jobPath(place, job.id);
  useEffect(() => {
    if (ended) return;
    const look = () => {
      void client.invalidateQueries({ queryKey: ["job", place, job.id] });
      void client.invalidateQueries({ queryKey: ["attempts", place, job.id] });
    };
    return follow(`${path}/events`, { state: look, following: look, progress: setProgress });
  }, [path, ended, client]);
  return progress;
}

function Known({ job, place }: { job: Job; place: Place }) {
  const attempts = useQuery(attemptsQuery(place, job.id));
  const live = useProgress(place, job);
  const may = useMay(place, "OperateEnvironment");
  const progress = live ?? job.progress;
  return (
    <>
      <div className="title">
        <h1>
          <Foreign>{job.function}</Foreign>
        </h1>
        <State state={job.state} />
        <Actions job={job} place={place} />
      </div>
      <p className="id">
        <code>{job.id}</code> <Copy text={job.id} label="Copy id" />
      </p>
      {job.waiting && <Waiting waiting={job.waiting} />}
      {job.state === "running" && progress && <Progress fraction={progress.fraction} message={progress.message} />}
      <div className="columns">
        <div>
          <Panel title="What happened">
            <Loaded query={attempts}>{(found) => <Timeline job={job} attempts={found} />}</Loaded>
          </Panel>
          {job.error && (
            <Panel title="Error">
              <ErrorView job={job} />
            </Panel>
          )}
          <Bodies job={job} allowed={may.allowed} reason={may.reason} />
          <Artifacts job={job} place={place} />
          {may.allowed && <Log place={place} id={job.id} />}
        </div>
        <Panel title="Details">
          <Details job={job} place={place} />
        </Panel>
      </div>
    </>
  );
}

function Progress({ fraction, message }: { fraction: number; message: string }) {
  return (
    <div className="progress">
      <progress value={fraction} max={1} aria-label="Progress" /> {Math.round(fraction * 100)} % <Foreign>{message}</Foreign>
    </div>
  );
}

function Bodies({ job, allowed, reason }: { job: Job; allowed: boolean; reason: string }) {
  if (job.payload === undefined) {
    return (
      <Panel title="Payload and result">
        <Empty title="Shown to who may operate this environment">{!allowed && reason && <p className="hint">You have {reason}.</p>}</Empty>
      </Panel>
    );
  }
  return (
    <>
      <Panel title="Payload">
        <Json text={job.payload} label="Payload" />
      </Panel>
      {job.result !== undefined && (
        <Panel title="Result">
          <Json text={job.result} label="Result" />
        </Panel>
      )}
    </>
  );
}

function Details({ job, place }: { job: Job; place: Place }) {
  const { retry } = job;
  return (
    <Facts>
      <Fact name="Created">
        <Time at={job.created_at} />
      </Fact>
      {job.run_at && (
        <Fact name="Not before">
          <Time at={job.run_at} />
        </Fact>
      )}
      {job.started_at && (
        <Fact name="Started">
          <Time at={job.started_at} />
          <span className="hint"> after {duration(Date.parse(job.started_at) - Date.parse(job.created_at))}</span>
        </Fact>
      )}
      {job.finished_at && (
        <Fact name="Ended">
          <Time at={job.finished_at} />
        </Fact>
      )}
      {job.cancel_requested_at && (
        <Fact name="Cancel asked for">
          <Time at={job.cancel_requested_at} />
        </Fact>
      )}
      <Fact name="Tags">{job.tags.length ? job.tags.map((tag) => <Tag key={tag} text={tag} />) : "any node"}</Fact>
      <Fact name="Labels">
        {Object.keys(job.labels).length
          ? Object.entries(job.labels).map(([key, value]) => (
              <Link key={key} className="label" to="/e/$org/$project/$environment/jobs" params={place} search={{ label: [`${key}=${value}`] }}>
                <bdi>
                  {key}={value}
                </bdi>
              </Link>
            ))
          : "none"}
      </Fact>
      <Fact name="Priority">{job.priority}</Fact>
      <Fact name="Attempts">
        {job.attempt} of at most {retry.max_attempts}
      </Fact>
      <Fact name="Between attempts">
        {retry.backoff === "none" ? "nothing" : `${duration(retry.initial_seconds * 1000)}${retry.backoff === "exponential" ? `, times ${retry.factor}, at most ${duration(retry.max_seconds * 1000)}` : ""}`}
      </Fact>
      <Fact name="Time for an attempt">{duration(job.timeout_seconds * 1000)}</Fact>
      {job.expires_in_seconds !== null && <Fact name="Must start within">{duration(job.expires_in_seconds * 1000)}</Fact>}
      {job.concurrency && (
        <Fact name="Concurrency">
          <bdi>{job.concurrency.key}</bdi>, {job.concurrency.limit} at once
        </Fact>
      )}
      <Fact name="Submitted by">
        <Who actor={job.submitted_by} place={place} />
      </Fact>
      {job.trigger_id && <Origin place={place} trigger={job.trigger_id} job={job} />}
      {job.replay_of && <Other name="Replay of" id={job.replay_of} place={place} />}
      {job.replayed_by && <Other name="Last replayed by" id={job.replayed_by} place={place} />}
      {job.trace_id && (
        <Fact name="Trace">
          <code>{job.trace_id}</code>
        </Fact>
      )}
    </Facts>
  );
}

function Other({ name, id, place }: { name: string; id: string; place: Place }): ReactNode {
  return (
    <Fact name={name}>
      <Link to="/e/$org/$project/$environment/jobs/$job" params={{ ...place, job: id }}>
        <code>{id}</code>
      </Link>
    </Fact>
  );
}

function Tag({ text }: { text: string }) {
  return <bdi className="label">{text}</bdi>;
}
