/** The jobs that the filters let through as a file: read page by page here, and saved when the person says so. */
import { useState } from "react";
import { useMay } from "../account/session";
import { each, persistently } from "../api/again";
import { raw, type Place } from "../api/client";
import { Problem } from "../api/problem";
import { itemsOf } from "../json/tree";
import { Button, Check, Choice, Form, Refusal } from "../kit/control";
import { Progress, usePass } from "../kit/pass";
import { SaveLink } from "../kit/save";
import { bytes, count, plural } from "../kit/text";
import { ForMany } from "./bulk";
import type { Filters } from "./filter";
import { jobPath } from "./model";
import { headOf, rowOf, type Format } from "./rows";
import { pagesOf } from "./selection";

const MOST = { bare: 100_000, bodies: 10_000 };
const MOST_BYTES = 256 << 20; // a tab holds the file until it is saved
const AT_ONCE = 4;
const FORMATS = [
  ["csv", "CSV, for spreadsheets"],
  ["jsonl", "JSON Lines, as the API answers"],
] as const;
const TYPES: Record<Format, string> = { csv: "text/csv;charset=utf-8", jsonl: "application/jsonl" };

type Props = { place: Place; filters: Filters; now: number };
type Wanted = { format: Format; bodies: boolean };
/** `cut`: there are more than the file may hold. */
type Told = { rows: number; size: number; cut: boolean; file: Blob | null };

export function Export(props: Props) {
  return (
    <ForMany label="Export…" title="Export these jobs">
      {(close, hold) => <Steps {...props} close={close} hold={hold} />}
    </ForMany>
  );
}

function Steps({ place, filters, now, close, hold }: Props & { close: () => void; hold: (held: boolean) => void }) {
  const may = useMay(place, "OperateEnvironment");
  const [wanted, want] = useState<Wanted>({ format: "csv", bodies: false });
  const reading = usePass<Told>({ rows: 0, size: 0, cut: false, file: null }, async (tell, signal) => {
    hold(true);
    await gather(place, filters, now, wanted, tell, signal).finally(() => hold(false));
  });
  const { rows, size, cut, file } = reading.told;
  const most = wanted.bodies ? MOST.bodies : MOST.bare;
  if (reading.state === "ready") {
    return (
      <Form submit="Read them" isBusy={false} problem={null} onSubmit={reading.start} onCancel={close}>
        <Choice label="Format" value={wanted.format} options={FORMATS} onChange={(format) => want({ ...wanted, format })} />
        <Check isSelected={wanted.bodies} isDisabled={!may.allowed} onChange={(bodies) => want({ ...wanted, bodies })}>
          With payload, result and error of each
        </Check>
        <p className="hint">
          The newest {count(most)} at most, and {bytes(MOST_BYTES)}. {wanted.bodies && "Each job is a request of its own: this takes longer. "}
          In CSV an apostrophe stands before text that a spreadsheet would run as a formula.
        </p>
      </Form>
    );
  }
  if (reading.state === "running") {
    return (
      <Progress done={rows} stop={reading.stop}>
        {plural(rows, "job")} read, {bytes(size)}…
      </Progress>
    );
  }
  const why = reading.state === "stopped" ? "Stopped: these are the newest. " : cut ? "There are more: these are the newest. " : "";
  return (
    <>
      {reading.problem && <Refusal problem={reading.problem} />}
      <p role="status">
        {why}
        {plural(rows, "job")}, {bytes(size)}.
      </p>
      <div className="buttons end">
        <Button look="quiet" onPress={close}>
          Close
        </Button>
        {file && <SaveLink file={file} name={nameOf(place, wanted.format)} />}
      </div>
    </>
  );
}

/** The time is local: people look for the file by it. */
function nameOf(place: Place, format: Format): string {
  const now = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000).toISOString();
  return `jobs-${place.environment}-${now.slice(0, 19).replaceAll(":", "")}.${format}`;
}

/** Tells the file after every few jobs, so that what was read is there when it is stopped. */
async function gather(place: Place, filters: Filters, now: number, { format, bodies }: Wanted, tell: (told: Told) => void, signal: AbortSignal): Promise<void> {
  const most = bodies ? MOST.bodies : MOST.bare;
  const type = TYPES[format];
  let rows = 0;
  let file = new Blob([headOf(format, bodies)], { type });
  for await (const page of pagesOf(place, filters, now, signal)) {
    for (const jobs of piecesOf(itemsOf(page, "items"), bodies ? AT_ONCE * 4 : Infinity)) {
      if (rows >= most || file.size >= MOST_BYTES) return tell({ rows, size: file.size, cut: true, file });
      const some = jobs.slice(0, most - rows);
      const whole = bodies ? await wholeOf(place, some, signal) : some;
      if (signal.aborted) return;
      file = new Blob([file, ...whole.map((job) => rowOf(format, job, bodies))], { type });
      rows += whole.length;
      tell({ rows, size: file.size, cut: some.length < jobs.length, file });
    }
  }
}

function piecesOf<T>(items: T[], size: number): T[][] {
  const pieces: T[][] = [];
  for (let at = 0; at < items.length; at += size) pieces.push(items.slice(at, at + size));
  return pieces;
}

/** The same jobs with what a list leaves out. One that is gone since stays as it was listed. */
async function wholeOf(place: Place, jobs: string[], signal: AbortSignal): Promise<string[]> {
  const whole = [...jobs];
  await each(jobs, AT_ONCE, signal, async (job, index) => {
    const { id } = JSON.parse(job) as { id: string };
    whole[index] = await persistently(() => raw(jobPath(place, id), { signal }), signal).catch((error: unknown) => {
      if (error instanceof Problem && error.status === 404) return job;
      throw error;
    });
  });
  return whole;
}
