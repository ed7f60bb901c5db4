/** API keys, of the environment and of the organization. A secret is shown once. */
import { useMutation, useQueryClient, type QueryKey } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, body, E, onceKey, type Place, type Schemas, type Where } from "../api/client";
import type { Problem } from "../api/problem";
import { Confirm, SecretOnce } from "../kit/action";
import { Button, Choice, Dialog, Field, Form } from "../kit/control";
import { Empty, Panel } from "../kit/panel";
import { Pages, Sheet, type Page } from "../kit/pages";
import { Ago, Foreign, Time } from "../kit/text";

type Key = Schemas["KeyView"];
type New = { name: string; role: string; expires_at: string | null };

/** The same calls below two paths. */
type Family = {
  title: string;
  queryKey: QueryKey;
  permission: string;
  roles: readonly (readonly [string, string])[];
  list: (cursor: string | undefined) => Promise<Page<Key>>;
  create: (given: New, once: string) => Promise<Key>;
  rotate: (id: string) => Promise<Key>;
  revoke: (id: string) => Promise<unknown>;
};

const ROLES = [
  ["operator", "operator: run and stop work"],
  ["viewer", "viewer: look, without payloads"],
  ["project_admin", "project admin: settings too"],
] as const;

const DAYS = [
  ["30", "in 30 days"],
  ["90", "in 90 days"],
  ["365", "in a year"],
  ["", "never"],
] as const;

export function EnvironmentKeys({ place }: { place: Place }) {
  const ofEnvironment: Family = {
    title: `Keys of ${place.environment}`,
    queryKey: ["keys", place],
    permission: "ManageEnvironment",
    roles: ROLES,
    list: async (cursor) => body(await api.GET(`${E}/keys`, { params: { path: place, query: { cursor } } })),
    create: async (given, once) =>
      body(await api.POST(`${E}/keys`, { params: { path: place, header: { "Idempotency-Key": once } }, body: given as Schemas["NewKey"] })),
    rotate: async (key) => body(await api.POST(`${E}/keys/{key}/rotate`, { params: { path: { ...place, key } }, body: { overlap_seconds: null } })),
    revoke: (key) => api.DELETE(`${E}/keys/{key}`, { params: { path: { ...place, key } } }),
  };
  return <Section family={ofEnvironment} place={place} />;
}

/** `place` is where permissions are asked for. */
export function OrganizationKeys({ place }: { place: Where }) {
  const { org } = place;
  const ofOrganization: Family = {
    title: `Keys of the organization ${org}`,
    queryKey: ["keys", org],
    permission: "ManageOrgMemberships",
    roles: [...ROLES, ["org_admin", "organization admin: everything"]],
    list: async (cursor) => body(await api.GET("/v1/orgs/{org}/api-keys", { params: { path: { org }, query: { cursor } } })),
    create: async (given, once) =>
      body(await api.POST("/v1/orgs/{org}/api-keys", { params: { path: { org }, header: { "Idempotency-Key": once } }, body: given as Schemas["NewOrganizationKey"] })),
    rotate: async (key) => body(await api.POST("/v1/orgs/{org}/api-keys/{key}/rotate", { params: { path: { org, key } }, body: { overlap_seconds: null } })),
    revoke: (key) => api.DELETE("/v1/orgs/{org}/api-keys/{key}", { params: { path: { org, key } } }),
  };
  return <Section family={ofOrganization} place={place} />;
}

function Section({ family, place }: { family: Family; place: Where }) {
  const may = useMay(place, family.permission);
  return (
    <Panel title={family.title} actions={<Create family={family} isDisabled={!may.allowed} />}>
      <Pages<Key> queryKey={family.queryKey} read={family.list} empty={<Empty title="None yet" />}>
        {(keys) => (
          <Sheet label={family.title} heads={["Name", "Role", "Last used", "Expires", "Change"]}>
            {keys.map((key) => (
              <Row key={key.id} of={key} family={family} isDisabled={!may.allowed} />
            ))}
          </Sheet>
        )}
      </Pages>
    </Panel>
  );
}

function Row({ of: key, family, isDisabled }: { of: Key; family: Family; isDisabled: boolean }) {
  return (
    <tr>
      <th scope="row">
        <Foreign>{key.name}</Foreign> <code className="hint">{key.public_id}</code>
      </th>
      <td>{key.role.replace("_", " ")}</td>
      <td>{key.last_used_at ? <Ago at={key.last_used_at} /> : "never"}</td>
      <td>
        {key.expires_at ? <Time at={key.expires_at} /> : "never"}
        {key.replaced_by && <span className="hint"> replaced</span>}
      </td>
      <td>
        <Rotate of={key} family={family} isDisabled={isDisabled || key.replaced_by !== null} />
        <Confirm
          label="Revoke…"
          name={`Revoke the key ${key.name}`}
          look="quiet"
          title={`Revoke the key ${key.name}?`}
          submit="Revoke"
          danger
          isDisabled={isDisabled}
          run={() => family.revoke(key.id)}
          changes={[family.queryKey]}
        >
          <p>Whoever uses it is refused from now on.</p>
        </Confirm>
      </td>
    </tr>
  );
}

function Create({ family, isDisabled }: { family: Family; isDisabled: boolean }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button isDisabled={isDisabled} onPress={() => setOpen(true)}>
        New key…
      </Button>
      <Dialog title="New key" isOpen={isOpen} onClose={() => setOpen(false)}>
        <Steps family={family} close={() => setOpen(false)} />
      </Dialog>
    </>
  );
}

const DAY_MS = 24 * 60 * 60_000;

function Steps({ family, close }: { family: Family; close: () => void }) {
  const client = useQueryClient();
  const [once] = useState(onceKey);
  const [name, setName] = useState("");
  const [role, setRole] = useState("operator");
  const [days, setDays] = useState<(typeof DAYS)[number][0]>("90");
  const make = useMutation<Key, Problem>({
    mutationFn: () => family.create({ name, role, expires_at: days === "" ? null : new Date(Date.now() + Number(days) * DAY_MS).toISOString() }, once),
    onSuccess: () => client.invalidateQueries({ queryKey: family.queryKey }),
  });
  if (make.data?.key) return <SecretOnce label="Key" secret={make.data.key} close={close} />;
  return (
    <Form submit="Create" isBusy={make.isPending} isDisabled={!name.trim()} problem={make.error} onSubmit={() => make.mutate()} onCancel={close}>
      <Field label="Name" value={name} onChange={setName} placeholder="ci" hint="For you: who uses it." />
      <Choice label="Role" value={role} options={family.roles} onChange={setRole} />
      <Choice label="Expires" value={days} options={DAYS} onChange={setDays} />
    </Form>
  );
}

function Rotate({ of: key, family, isDisabled }: { of: Key; family: Family; isDisabled: boolean }) {
  const client = useQueryClient();
  const [isOpen, setOpen] = useState(false);
  const rotate = useMutation<Key, Problem>({
    mutationFn: () => family.rotate(key.id),
    onSettled: () => client.invalidateQueries({ queryKey: family.queryKey }),
  });
  const close = () => {
    setOpen(false);
    rotate.reset();
  };
  return (
    <>
      <Button look="quiet" isDisabled={isDisabled} onPress={() => setOpen(true)} aria-label={`Rotate the key ${key.name}`}>
        Rotate…
      </Button>
      <Dialog title={`Rotate the key ${key.name}`} isOpen={isOpen} onClose={close}>
        {rotate.data?.key ? (
          <SecretOnce label="Key" secret={rotate.data.key} close={close} />
        ) : (
          <Form submit="Rotate" isBusy={rotate.isPending} problem={rotate.error} onSubmit={() => rotate.mutate()} onCancel={close}>
            <p>A new key of the same name, role and expiry. This one works for 24 hours more.</p>
          </Form>
        )}
      </Dialog>
    </>
  );
}
