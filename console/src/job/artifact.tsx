/** The artifacts of a job: those that it put, and those that its payload and its result refer to. */
import { queryOptions, useMutation, useQueries, useQuery } from "@tanstack/react-query";
import { useMay } from "../account/session";
import { api, body, E, environmentPath, raw, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";
import { artifactsIn } from "../json/reference";
import { shown } from "../json/tree";
import { Button, Refusal } from "../kit/control";
import { Failed, Panel } from "../kit/panel";
import { saveFrom } from "../kit/save";
import { bytes, Foreign, State } from "../kit/text";
import type { Job } from "./model";

type Artifact = Schemas["ArtifactView"];

const MOST = 200;
const LARGE = 64 << 20; // what is larger goes from the object store to the disk, not through this page

const putBy = (place: Place, job: Job) =>
  queryOptions<Artifact[], Problem>({
    queryKey: ["artifacts", place, job.id, job.state],
    queryFn: async () => body(await api.GET(`${E}/artifacts`, { params: { path: place, query: { job_id: job.id, limit: MOST } } })).items,
  });

const artifactQuery = (place: Place, id: string) =>
  queryOptions<Artifact, Problem>({
    queryKey: ["artifact", place, id],
    queryFn: async () => body(await api.GET(`${E}/artifacts/{artifact}`, { params: { path: { ...place, artifact: id } } })),
  });

/** Each id that the job names, with where it does. */
function named(job: Job): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const [place, text] of [["payload", job.payload], ["result", job.result]] as const) {
    for (const id of artifactsIn(text)) found.set(id, [...(found.get(id) ?? []), `named in the ${place}`]);
  }
  return found;
}

/** Nothing where there are none. */
export function Artifacts({ job, place }: { job: Job; place: Place }) {
  const put = useQuery(putBy(place, job));
  const names = named(job);
  const others = [...names.keys()].filter((id) => !put.data?.some((one) => one.id === id));
  const known = useQueries({ queries: others.map((id) => artifactQuery(place, id)) });
  if (!put.error && !put.data?.length && names.size === 0) return null;
  return (
    <Panel title="Artifacts">
      {put.error && <Failed problem={put.error} retry={() => void put.refetch()} />}
      <ul className="rows">
        {put.data?.map((one) => <Row key={one.id} artifact={one} roles={["uploaded by this job", ...(names.get(one.id) ?? [])]} place={place} />)}
        {others.map((id, index) => {
          const { data, error } = known[index] ?? {};
          return data ? <Row key={id} artifact={data} roles={names.get(id) ?? []} place={place} /> : <Missing key={id} id={id} problem={error ?? null} />;
        })}
      </ul>
      {put.data?.length === MOST && <p className="hint">These are the newest {MOST}; the API has all of them.</p>}
    </Panel>
  );
}

function Row({ artifact, roles, place }: { artifact: Artifact; roles: string[]; place: Place }) {
  const may = useMay(place, "OperateEnvironment");
  const read = useMutation<void, Problem>({ mutationFn: () => download(place, artifact) });
  const name = artifact.name || artifact.id;
  return (
    <li className="artifact">
      <div>
        <b>
          <Foreign>{name}</Foreign>
        </b>
        <p className="hint">
          {artifact.type.replaceAll("_", " ")}
          {artifact.content_type && `, ${artifact.content_type}`}, {bytes(artifact.size_bytes)}; {roles.join(", ")}
        </p>
        {read.error && <Refusal problem={read.error} />}
      </div>
      <State state={artifact.state} />
      <Button isDisabled={!may.allowed || artifact.state === "uploading"} onPress={() => read.mutate()} aria-label={`Download ${name}`}>
        {read.isPending ? "Reading…" : "Download"}
      </Button>
    </li>
  );
}

function Missing({ id, problem }: { id: string; problem: Problem | null }) {
  return (
    <li>
      <code>{id}</code>
      <span className="hint">{problem === null ? "Loading…" : problem.status === 404 ? "is deleted" : problem.message}</span>
    </li>
  );
}

async function download(place: Place, artifact: Artifact): Promise<void> {
  const path = `${environmentPath(place)}/artifacts/${artifact.id}/content`;
  if (artifact.size_bytes > LARGE) {
    const { url } = JSON.parse(await raw(`${path}?presigned=true`)) as { url: string };
    location.assign(url); // an attachment: this page stays
    return;
  }
  await saveFrom(path, shown(artifact.name.split("/").at(-1) ?? "") || `artifact-${artifact.id}`); // no name that reads backwards
}
