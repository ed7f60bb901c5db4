/** A credential made on the spot, and a program that joins with it. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, body, E, onceKey, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { Button, Dialog, Field, Form } from "../kit/control";
import { Empty, Loaded, Panel } from "../kit/panel";
import { Ago, Copy, Foreign, Time } from "../kit/text";
import { credentialsQuery, type Credential } from "./model";
import { plainTags, snippet } from "./snippet";

export function Connect({ place }: { place: Place }) {
  const [isOpen, setOpen] = useState(false);
  const may = useMay(place, "OperateEnvironment");
  return (
    <>
      <Button look="primary" isDisabled={!may.allowed} onPress={() => setOpen(true)}>
        Connect a node…
      </Button>
      <Dialog title="Connect a node" isOpen={isOpen} onClose={() => setOpen(false)} wide>
        <Steps place={place} close={() => setOpen(false)} />
      </Dialog>
    </>
  );
}

function listed(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== "");
}

function Steps({ place, close }: { place: Place; close: () => void }) {
  const client = useQueryClient();
  const [once] = useState(onceKey);
  const [name, setName] = useState("");
  const [tags, setTags] = useState("");
  const [functions, setFunctions] = useState("");
  const make = useMutation<Credential, Problem>({
    mutationFn: async () => {
      const limits = { allowed_tags: listed(tags).length ? listed(tags) : null, functions: listed(functions).length ? listed(functions) : null };
      const header = { "Idempotency-Key": once };
      return body(await api.POST(`${E}/node-credentials`, { params: { path: place, header }, body: { name, ...limits } }));
    },
    onSuccess: () => client.invalidateQueries({ queryKey: ["credentials", place] }),
  });
  if (make.data) return <Joined credential={make.data} close={close} />;
  return (
    <Form submit="Make a credential" isBusy={make.isPending} isDisabled={!name.trim()} problem={make.error} onSubmit={() => make.mutate()} onCancel={close}>
      <Field label="Name" value={name} onChange={setName} placeholder="gpu rack 1" hint="For you: where nodes with this credential run." />
      <Field label="Tags it may have" value={tags} onChange={setTags} code placeholder="gpu region=*" hint="With blanks between. None: any." />
      <Field label="Functions it may serve" value={functions} onChange={setFunctions} code placeholder="image.*" hint="With blanks between. None: any." />
    </Form>
  );
}

function Joined({ credential, close }: { credential: Credential; close: () => void }) {
  const text = snippet(location.origin, { ...credential, client_secret: credential.client_secret ?? "" }, plainTags(credential.allowed_tags ?? []));
  return (
    <>
      <p>
        The secret is shown this once. Paste this into a shell that has <code>waypost_sdk</code>; the node shows up on this page when it has joined.
      </p>
      <pre className="code scroll" tabIndex={0} aria-label="Program">
        {text}
      </pre>
      <div className="buttons end">
        <Copy text={text} look="plain" />
        <Button look="primary" onPress={close}>
          I have it
        </Button>
      </div>
    </>
  );
}

export function Credentials({ place }: { place: Place }) {
  const query = useQuery(credentialsQuery(place));
  return (
    <Panel title="Credentials of nodes">
      <Loaded query={query}>
        {(found) =>
          found.length === 0 ? (
            <Empty title="None yet">
              <p>A node joins with a credential, which says what tags it may have and what it may serve.</p>
            </Empty>
          ) : (
            <ul className="rows">
              {found.map((credential) => (
                <CredentialRow key={credential.id} credential={credential} place={place} />
              ))}
            </ul>
          )
        }
      </Loaded>
    </Panel>
  );
}

function CredentialRow({ credential, place }: { credential: Credential; place: Place }) {
  const client = useQueryClient();
  const may = useMay(place, "OperateEnvironment");
  const [isOpen, setOpen] = useState(false);
  const remove = useMutation<unknown, Problem>({
    mutationFn: () => api.DELETE(`${E}/node-credentials/{credential}`, { params: { path: { ...place, credential: credential.id } } }),
    onSuccess: () => setOpen(false),
    onSettled: () => client.invalidateQueries({ queryKey: ["credentials", place] }),
  });
  return (
    <li>
      <span>
        <b>
          <Foreign>{credential.name}</Foreign>
        </b>{" "}
        <code className="hint">{credential.client_id}</code>
        <br />
        <span className="hint">
          {credential.allowed_tags ? `tags ${credential.allowed_tags.join(", ")}` : "any tags"};{" "}
          {credential.functions ? `functions ${credential.functions.join(", ")}` : "any functions"}; made <Time at={credential.created_at} short />;{" "}
          {credential.last_used_at ? (
            <>
              last used <Ago at={credential.last_used_at} />
            </>
          ) : (
            "never used"
          )}
        </span>
      </span>
      <Button look="quiet" isDisabled={!may.allowed} onPress={() => setOpen(true)} aria-label={`Delete the credential ${credential.name}`}>
        Delete…
      </Button>
      <Dialog title={`Delete the credential ${credential.name}?`} isOpen={isOpen} onClose={() => setOpen(false)}>
        <Form submit="Delete" danger isBusy={remove.isPending} problem={remove.error} onSubmit={() => remove.mutate()} onCancel={() => setOpen(false)}>
          <p>Nodes that joined with it are cut off within five seconds, and what they run is tried again elsewhere.</p>
        </Form>
      </Dialog>
    </li>
  );
}
