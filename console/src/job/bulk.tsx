/** Running many ended jobs again: counted first, then watched. */
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, body, E, onceKey, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";
import { Button, Dialog, Form, Refusal } from "../kit/control";
import { Loading } from "../kit/panel";
import { count, Foreign, plural } from "../kit/text";
import { SPANS, type Filters } from "./filter";
import { isEnd } from "./state";

type Wanted = Schemas["NewReplay"];
/** What a dry run answers. */
type Preview = { matched: number; more: boolean; by_function: Record<string, number>; by_state: Record<string, number> };
type Bulk = Schemas["BulkReplayView"];

/** The ended jobs that the filters let through, without a state among them those that did not complete; `now` as for
 * the list. */
export function selectionOf(filters: Filters, now: number): Omit<Wanted, "dry_run"> {
  const chosen = filters.state?.filter(isEnd) ?? [];
  const states = chosen.length > 0 ? chosen : ["failed", "dead_letter", "canceled", "expired"];
  const after = filters.since ? new Date(now - SPANS[filters.since] * 60_000).toISOString() : filters.after;
  return {
    state: states,
    ...(filters.function ? { function: filters.function } : {}),
    ...(filters.label ? { label: filters.label } : {}),
    ...(filters.trigger ? { trigger_id: filters.trigger } : {}),
    ...(after ? { created_after: after } : {}),
    ...(filters.before ? { created_before: filters.before } : {}),
  };
}

export function ReplayMany({ place, filters, now }: { place: Place; filters: Filters; now: number }) {
  const [isOpen, setOpen] = useState(false);
  const may = useMay(place, "OperateEnvironment");
  const close = () => setOpen(false);
  return (
    <>
      <Button isDisabled={!may.allowed} onPress={() => setOpen(true)}>
        Replay these…
      </Button>
      <Dialog title="Run these jobs again" isOpen={isOpen} onClose={close}>
        <Steps place={place} wanted={selectionOf(filters, now)} close={close} />
      </Dialog>
    </>
  );
}

function Steps({ place, wanted, close }: { place: Place; wanted: Omit<Wanted, "dry_run">; close: () => void }) {
  const [once] = useState(onceKey);
  const counted = useQuery<Preview, Problem>({
    queryKey: ["replay-count", place, wanted, once],
    queryFn: async () => body(await api.POST(`${E}/jobs/replay`, { params: { path: place }, body: { ...wanted, dry_run: true } })) as unknown as Preview,
    staleTime: Infinity,
    refetchOnWindowFocus: false,
  });
  const start = useMutation<Bulk, Problem>({
    mutationFn: async () => body(await api.POST(`${E}/jobs/replay`, { params: { path: place, header: { "Idempotency-Key": once } }, body: { ...wanted, dry_run: false } })),
  });
  if (start.data) return <Watched place={place} id={start.data.id} close={close} />;
  if (counted.error) return <Refusal problem={counted.error} />;
  if (!counted.data) return <Loading />;
  const { matched, more, by_function: functions, by_state: states } = counted.data;
  return (
    <Form submit={`Replay ${plural(matched, "job")}`} isBusy={start.isPending} isDisabled={matched === 0} problem={start.error} onSubmit={() => start.mutate()} onCancel={close}>
      {matched === 0 ? (
        <p>No job that has ended matches these filters. Without a state chosen, those that completed are left out.</p>
      ) : (
        <>
          <p>
            {plural(matched, "job that has ended matches", "jobs that have ended match")} these filters{more && "; more are older, and stay as they are"}. Each
            becomes a new job with the same payload, tags and policy.
          </p>
          <ul className="rows">
            {Object.entries(functions).map(([name, number]) => (
              <li key={name}>
                <Foreign>{name}</Foreign> <span>{count(number)}</span>
              </li>
            ))}
          </ul>
          <p className="hint">
            {Object.entries(states)
              .map(([state, number]) => `${count(number)} ${state.replace("_", " ")}`)
              .join(", ")}
          </p>
        </>
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
