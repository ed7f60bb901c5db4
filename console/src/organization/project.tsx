/** The projects of an organization with their environments, and making more of both. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, body, onceKey } from "../api/client";
import type { Problem } from "../api/problem";
import { Button, Dialog, Field, Form } from "../kit/control";
import { Empty, Loaded, Panel } from "../kit/panel";
import { Sheet } from "../kit/pages";
import { Foreign, State, Time } from "../kit/text";
import { NewEnvironment, WatchSteps } from "./environment";
import { environmentsQuery, projectsQuery, type Project } from "./model";

export function Projects({ org }: { org: string }) {
  const query = useQuery(projectsQuery(org));
  return (
    <>
      <div className="buttons">
        <NewProject org={org} />
      </div>
      <Loaded query={query}>
        {(found) =>
          found.length === 0 ? (
            <Empty title="No project yet">
              <p>A project holds environments: development and production of one thing, for instance.</p>
            </Empty>
          ) : (
            found.map((project) => <One key={project.id} org={org} project={project} />)
          )
        }
      </Loaded>
    </>
  );
}

function One({ org, project }: { org: string; project: Project }) {
  const query = useQuery(environmentsQuery(org, project.slug));
  const may = useMay({ org, project: project.slug }, "ManageProject");
  return (
    <Panel title={project.name} id={`project-${project.slug}`} actions={<NewEnvironment org={org} project={project.slug} isDisabled={!may.allowed} />}>
      <p className="hint">
        <code>{project.slug}</code> {project.description && <Foreign>{project.description}</Foreign>}
      </p>
      <Loaded query={query}>
        {(found) =>
          found.length === 0 ? (
            <Empty title="No environment yet" />
          ) : (
            <Sheet label={`Environments of ${project.name}`} heads={["Environment", "Posture", "State", "Created", "Look"]}>
              {found.map((one) => (
                <tr key={one.id}>
                  <th scope="row">
                    <Link to="/e/$org/$project/$environment/overview" params={{ org, project: project.slug, environment: one.slug }}>
                      {one.slug}
                    </Link>{" "}
                    {one.name !== one.slug && <bdi className="hint">{one.name}</bdi>}
                  </th>
                  <td>{one.posture}</td>
                  <td>
                    <State state={one.status} /> {one.status_reason && <bdi className="hint">{one.status_reason}</bdi>}
                  </td>
                  <td>
                    <Time at={one.created_at} />
                  </td>
                  <td>
                    <WatchSteps place={{ org, project: project.slug, environment: one.slug }} />
                  </td>
                </tr>
              ))}
            </Sheet>
          )
        }
      </Loaded>
    </Panel>
  );
}

function NewProject({ org }: { org: string }) {
  const [isOpen, setOpen] = useState(false);
  const may = useMay({ org }, "ManageProject");
  return (
    <>
      <Button look="primary" isDisabled={!may.allowed} onPress={() => setOpen(true)}>
        New project…
      </Button>
      <Dialog title="New project" isOpen={isOpen} onClose={() => setOpen(false)}>
        <Steps org={org} close={() => setOpen(false)} />
      </Dialog>
    </>
  );
}

function Steps({ org, close }: { org: string; close: () => void }) {
  const client = useQueryClient();
  const [once] = useState(onceKey);
  const [given, setGiven] = useState({ name: "", slug: "", description: "" });
  const make = useMutation<Project, Problem>({
    mutationFn: async () =>
      body(
        await api.POST("/v1/orgs/{org}/projects", {
          params: { path: { org }, header: { "Idempotency-Key": once } },
          body: { name: given.name, slug: given.slug.trim() || null, description: given.description },
        }),
      ),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["projects", org] });
      close();
    },
  });
  const fault = (path: string) => make.error?.faults.find((one) => one.path === path)?.message;
  return (
    <Form submit="Create" isBusy={make.isPending} isDisabled={!given.name.trim()} problem={make.error} onSubmit={() => make.mutate()} onCancel={close}>
      <Field label="Name" value={given.name} onChange={(name) => setGiven({ ...given, name })} fault={fault("/name")} />
      <Field label="In addresses" value={given.slug} onChange={(slug) => setGiven({ ...given, slug })} code fault={fault("/slug")} hint="Lower case, digits and dashes; none: made from the name." />
      <Field label="Description" value={given.description} onChange={(description) => setGiven({ ...given, description })} fault={fault("/description")} />
    </Form>
  );
}
