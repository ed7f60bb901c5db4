/** One job beside another run of it: what went in and came out differently. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Place } from "../api/client";
import { differences, type Difference } from "../json/difference";
import { Button, Dialog, Field } from "../kit/control";
import { Loaded } from "../kit/panel";
import { Sheet } from "../kit/pages";
import { duration, State } from "../kit/text";
import { jobQuery, type Job } from "./model";

const LONG = 300;

export function Compare({ job, place }: { job: Job; place: Place }) {
  const [isOpen, setOpen] = useState(false);
  const [other, setOther] = useState(job.replay_of ?? job.replayed_by ?? "");
  return (
    <>
      <Button onPress={() => setOpen(true)}>Compare…</Button>
      <Dialog title="Compare with another run" isOpen={isOpen} onClose={() => setOpen(false)} wide>
        <Field label="The other job's id" value={other} onChange={setOther} code />
        {other.trim().length === 36 && <Beside job={job} other={other.trim()} place={place} />}
        <div className="buttons end">
          <Button onPress={() => setOpen(false)}>Close</Button>
        </div>
      </Dialog>
    </>
  );
}

function Beside({ job, other, place }: { job: Job; other: string; place: Place }) {
  const query = useQuery(jobQuery(place, other));
  return (
    <Loaded query={query}>
      {(found) => (
        <>
          <Sheet label="Both runs" heads={["Run", "State", "Attempts", "Took", "Function"]}>
            <Line name="this one" job={job} />
            <Line name="the other" job={found} />
          </Sheet>
          <Part name="Payload" mine={job.payload} theirs={found.payload} />
          <Part name="Result" mine={job.result} theirs={found.result} />
        </>
      )}
    </Loaded>
  );
}

function Line({ name, job }: { name: string; job: Job }) {
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>
        <State state={job.state} />
      </td>
      <td className="number">{job.attempt}</td>
      <td>{job.started_at && job.finished_at ? duration(Date.parse(job.finished_at) - Date.parse(job.started_at)) : ""}</td>
      <td>
        <bdi>{job.function}</bdi>
      </td>
    </tr>
  );
}

function Part({ name, mine, theirs }: { name: string; mine: string | undefined; theirs: string | undefined }) {
  if (mine === undefined || theirs === undefined) {
    return <p className="hint">{name}: {mine === theirs ? "neither has one to show." : `only ${mine === undefined ? "the other" : "this one"} has one.`}</p>;
  }
  const found = differences(mine, theirs);
  if (found.length === 0) return <p className="hint">{name}: the same.</p>;
  return (
    <Sheet label={`${name}: differences`} heads={[name, "This one", "The other"]}>
      {found.map((one) => (
        <Row key={one.path} one={one} />
      ))}
    </Sheet>
  );
}

function Row({ one }: { one: Difference }) {
  return (
    <tr>
      <th scope="row">
        <code>{one.path}</code>
      </th>
      <td className="wrap">{cut(one.before)}</td>
      <td className="wrap">{cut(one.after)}</td>
    </tr>
  );
}

function cut(text: string | null) {
  if (text === null) return <span className="hint">not there</span>;
  return <code>{text.length > LONG ? `${text.slice(0, LONG)}… (${text.length} characters)` : text}</code>;
}
