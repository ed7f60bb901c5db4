/** Making an environment, and watching the steps in which one comes or goes. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { api, body, onceKey, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { Button, Choice, Dialog, Field, Form } from "../kit/control";
import { Loaded } from "../kit/panel";
import { duration, Foreign, State } from "../kit/text";
import { isMoving, stepsQuery, type Environment } from "./model";

const POSTURES = [
  ["dev", "development"],
  ["staging", "staging"],
  ["prod", "production"],
] as const;

type Of = { org: string; project: string };

export function NewEnvironment({ org, project, isDisabled }: Of & { isDisabled: boolean }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button isDisabled={isDisabled} onPress={() => setOpen(true)} aria-label={`New environment in ${project}…`}>
        New environment…
      </Button>
      <Dialog title={`New environment in ${project}`} isOpen={isOpen} onClose={() => setOpen(false)}>
        <Make org={org} project={project} close={() => setOpen(false)} />
      </Dialog>
    </>
  );
}

function Make({ org, project, close }: Of & { close: () => void }) {
  const client = useQueryClient();
  const [once] = useState(onceKey);
  const [given, setGiven] = useState({ name: "", slug: "", posture: "dev" as (typeof POSTURES)[number][0] });
  const make = useMutation<Environment, Problem>({
    mutationFn: async () =>
      body(
        await api.POST("/v1/orgs/{org}/projects/{project}/environments", {
          params: { path: { org, project }, header: { "Idempotency-Key": once } },
          body: { name: given.name, slug: given.slug.trim() || null, posture: given.posture, backend: "postgres" },
        }),
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: ["environments-of", org, project] }),
  });
  if (make.data) return <Watched place={{ org, project, environment: make.data.slug }} close={close} />;
  const fault = (path: string) => make.error?.faults.find((one) => one.path === path)?.message;
  return (
    <Form submit="Create" isBusy={make.isPending} isDisabled={!given.name.trim()} problem={make.error} onSubmit={() => make.mutate()} onCancel={close}>
      <Field label="Name" value={given.name} onChange={(name) => setGiven({ ...given, name })} fault={fault("/name")} />
      <Field label="In addresses" value={given.slug} onChange={(slug) => setGiven({ ...given, slug })} code fault={fault("/slug")} hint="Lower case, digits and dashes; none: made from the name." />
      <Choice label="Posture" value={given.posture} options={POSTURES} onChange={(posture) => setGiven({ ...given, posture })} />
    </Form>
  );
}

/** A button to the steps of an environment that is there already. */
export function WatchSteps({ place }: { place: Place }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button look="quiet" onPress={() => setOpen(true)} aria-label={`Steps of ${place.environment}`}>
        Steps…
      </Button>
      <Dialog title={`Steps of ${place.environment}`} isOpen={isOpen} onClose={() => setOpen(false)}>
        <Watched place={place} close={() => setOpen(false)} />
      </Dialog>
    </>
  );
}

/** The steps of the phase that an environment is in, as they are done, until it stands still or is gone. */
export function Watched({ place, close }: { place: Place; close: () => void }) {
  const client = useQueryClient();
  const query = useQuery(stepsQuery(place));
  const status = query.error?.status === 404 ? "gone" : query.data?.status;
  useEffect(() => {
    if (status === undefined) return;
    for (const queryKey of [["environments-of", place.org, place.project], ["environments"], ["environment", place]]) void client.invalidateQueries({ queryKey });
  }, [client, status, place.org, place.project, place.environment]);
  if (status === "gone") return <Gone place={place} />;
  return (
    <Loaded query={query}>
      {(found) => (
        <>
          <p role="status">
            <Foreign>{found.name}</Foreign>: <State state={found.status} /> {found.status_reason && <bdi>{found.status_reason}</bdi>}
          </p>
          <ol className="rows steps">
            {(found.steps ?? []).map((step) => (
              <li key={`${step.phase} ${step.name}`}>
                <span>
                  {step.name.replaceAll("_", " ")} {step.error && <bdi className="fault">{step.error}</bdi>}
                </span>
                {step.started_at && step.finished_at && <span className="hint">{duration(Date.parse(step.finished_at) - Date.parse(step.started_at))}</span>}
                <State state={step.state} />
              </li>
            ))}
          </ol>
          <div className="buttons end">
            <Button onPress={close}>Close</Button>
            {!isMoving(found) && found.status === "ready" && (
              <Link className="button primary" to="/e/$org/$project/$environment/overview" params={place} onClick={close}>
                Open it
              </Link>
            )}
          </div>
        </>
      )}
    </Loaded>
  );
}

function Gone({ place }: { place: Place }) {
  return (
    <>
      <p role="status">
        <Foreign>{place.environment}</Foreign> is gone, with everything that was in it.
      </p>
      <div className="buttons end">
        <Link className="button primary" to="/">
          All environments
        </Link>
      </div>
    </>
  );
}
