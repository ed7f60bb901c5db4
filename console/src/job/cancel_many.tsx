/** Canceling many jobs: counted first, then one request for each, a few at a time, for as long as the dialog is open. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useMay } from "../account/session";
import { each, persistently } from "../api/again";
import { api, E, onceKey, type Place } from "../api/client";
import { Problem } from "../api/problem";
import { Button, Form, Refusal } from "../kit/control";
import { Progress, usePass } from "../kit/pass";
import { count, plural } from "../kit/text";
import { ForMany, Tally } from "./bulk";
import { openOf, type Filters } from "./filter";
import { choose, NONE, type Counted } from "./selection";

const AT_ONCE = 4; // a browser has six connections to a host
const OVER = new Set(["job_already_ended", "not_found"]);

type Props = { place: Place; filters: Filters; now: number };
type Steps = { close: () => void; hold: (held: boolean) => void };
type Chosen = { ids: string[]; counted: Counted; so_far: number };
type Done = { canceled: number; over: number };

export function CancelMany({ place, filters, now }: Props) {
  const may = useMay(place, "OperateEnvironment");
  return (
    <ForMany label="Cancel these…" title="Cancel these jobs" isDisabled={!may.allowed}>
      {(close, hold) => <Count place={place} filters={filters} now={now} close={close} hold={hold} />}
    </ForMany>
  );
}

function Count({ place, filters, now, close, hold }: Props & Steps) {
  const [agreed, agree] = useState(false);
  const count = usePass<Chosen>({ ids: [], counted: NONE, so_far: 0 }, async (tell, signal) => {
    const open = openOf(filters);
    if (open === null) return;
    const found = await choose(place, open, now, signal, (so_far) => tell({ ids: [], counted: NONE, so_far }));
    tell({ ...found, so_far: found.ids.length });
  });
  useEffect(count.start, []);
  if (count.state === "failed" && count.problem) return <Refusal problem={count.problem} />;
  if (count.state !== "done") {
    return (
      <Progress done={0} stop={close}>
        {plural(count.told.so_far, "job")} so far…
      </Progress>
    );
  }
  const { ids, counted } = count.told;
  if (agreed) return <Cancel place={place} ids={ids} close={close} hold={hold} />;
  return (
    <Form submit={`Cancel ${plural(ids.length, "job")}`} danger isBusy={false} isDisabled={ids.length === 0} problem={null} onSubmit={() => agree(true)} onCancel={close}>
      {ids.length === 0 ? (
        <p>No job that these filters let through is queued, running or retrying.</p>
      ) : (
        <Tally
          counted={counted}
          one="job that has not ended matches"
          many="jobs that have not ended match"
          then="Those that wait end at once and never run; the nodes of those that run are told to stop, and ten seconds later they are canceled all the same."
        />
      )}
    </Form>
  );
}

function Cancel({ place, ids, close, hold }: { place: Place; ids: string[] } & Steps) {
  const client = useQueryClient();
  const [once] = useState(onceKey);
  const cancel = usePass<Done>({ canceled: 0, over: 0 }, async (tell, signal) => {
    const done: Done = { canceled: 0, over: 0 };
    // The oldest first: they would be the next to start.
    await each(ids.toReversed(), AT_ONCE, signal, async (id) => {
      done[await cancelOne(place, id, `${once}-${id}`, signal)] += 1;
      tell({ ...done });
    });
  });
  useEffect(cancel.start, []);
  const running = cancel.state === "running" || cancel.state === "ready";
  useEffect(() => {
    hold(running);
    if (!running) void client.invalidateQueries({ queryKey: ["jobs-head", place] });
  }, [running]);
  const { canceled, over } = cancel.told;
  const words = `${count(canceled)} of ${count(ids.length)} canceled${over > 0 ? `, ${count(over)} had ended before` : ""}`;
  if (running) {
    return (
      <>
        <Progress done={canceled + over} most={ids.length} stop={cancel.stop}>
          {words}…
        </Progress>
        <p className="hint">Keep this page open: it stops when the page goes.</p>
      </>
    );
  }
  return (
    <>
      <p role="status">{cancel.state === "stopped" ? `Stopped: ${words}.` : `${words}.`}</p>
      {cancel.problem && <Refusal problem={cancel.problem} />}
      <div className="buttons end">
        <Button autoFocus onPress={close}>
          Close
        </Button>
      </div>
    </>
  );
}

async function cancelOne(place: Place, job: string, once: string, signal: AbortSignal): Promise<keyof Done> {
  const params = { path: { ...place, job }, header: { "Idempotency-Key": once } };
  try {
    // Stopping leaves what was sent its answer: it counts.
    await persistently(() => api.POST(`${E}/jobs/{job}/cancel`, { params }), signal);
    return "canceled";
  } catch (error) {
    if (error instanceof Problem && OVER.has(error.code)) return "over";
    throw error;
  }
}
