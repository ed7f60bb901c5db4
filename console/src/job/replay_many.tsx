/** Running many ended jobs again: counted first, then watched. The platform does it, also when nobody looks. */
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, body, E, onceKey, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";
import { Button, Form, Refusal } from "../kit/control";
import { Loading } from "../kit/panel";
import { count, plural } from "../kit/text";
import { ForMany, Tally } from "./bulk";
import { endedOf, type Filters } from "./filter";
import { NONE, replayOf, type Counted } from "./selection";

type Bulk = Schemas["BulkReplayView"];
type Props = { place: Place; filters: Filters; now: number };

export function ReplayMany({ place, filters, now }: Props) {
  const may = useMay(place, "OperateEnvironment");
  return (
    <ForMany label="Replay these…" title="Run these jobs again" isDisabled={!may.allowed}>
      {(close) => <Steps place={place} filters={filters} now={now} close={close} />}
    </ForMany>
  );
}

function Steps({ place, filters, now, close }: Props & { close: () => void }) {
  const [once] = useState(onceKey);
  const chosen = endedOf(filters);
  const wanted = chosen && replayOf(chosen, now);
  const counted = useQuery<Counted, Problem>({
    queryKey: ["replay-count", place, wanted, once],
    queryFn: async () => {
      if (wanted === null) return NONE;
      return body(await api.POST(`${E}/jobs/replay`, { params: { path: place }, body: { ...wanted, dry_run: true } })) as unknown as Counted;
    },
    staleTime: Infinity,
    refetchOnWindowFocus: false,
  });
  const start = useMutation<Bulk, Problem>({
    mutationFn: async () => body(await api.POST(`${E}/jobs/replay`, { params: { path: place, header: { "Idempotency-Key": once } }, body: { ...wanted, dry_run: false } })) as Bulk,
  });
  if (start.data) return <Watched place={place} id={start.data.id} close={close} />;
  if (counted.error) return <Refusal problem={counted.error} />;
  if (!counted.data) return <Loading />;
  const { matched } = counted.data;
  return (
    <Form submit={`Replay ${plural(matched, "job")}`} isBusy={start.isPending} isDisabled={matched === 0} problem={start.error} onSubmit={() => start.mutate()} onCancel={close}>
      {matched === 0 ? (
        <p>No job that has ended matches these filters. Without a state chosen, those that completed are left out.</p>
      ) : (
        <Tally
          counted={counted.data}
          one="job that has ended matches"
          many="jobs that have ended match"
          then="Each becomes a new job with the same payload, tags and policy."
        />
      )}
    </Form>
  );
}

function Watched({ place, id, close }: { place: Place; id: string; close: () => void }) {
  const query = useQuery<Bulk, Problem>({
    queryKey: ["bulk-replay", place, id],
    queryFn: async () => body(await api.GET(`${E}/jobs/replays/{replay}`, { params: { path: { ...place, replay: id } } })),
    refetchInterval: (found) => (found.state.data?.finished_at ? false : 1_000),
  });
  const bulk = query.data;
  return (
    <>
      <p role="status">
        {bulk === undefined
          ? "It begins…"
          : `${count(bulk.replayed)} of ${count(bulk.matched)} replayed${bulk.skipped > 0 ? `, ${count(bulk.skipped)} skipped` : ""}${bulk.finished_at ? "." : "…"}`}
      </p>
      {bulk?.error && <p className="fault">{bulk.error}</p>}
      <ul className="rows">
        {(bulk?.skips ?? []).map((skip) => (
          <li key={skip.job_id}>
            <Link to="/e/$org/$project/$environment/jobs/$job" params={{ ...place, job: skip.job_id }}>
              <code>{skip.job_id}</code>
            </Link>
            <span className="hint">{skip.message}</span>
          </li>
        ))}
      </ul>
      <p className="hint">It goes on when this is closed.</p>
      <div className="buttons end">
        <Link to="/e/$org/$project/$environment/jobs" params={place} search={{}} onClick={close}>
          To all jobs
        </Link>
        <Button onPress={close}>Close</Button>
      </div>
    </>
  );
}
