/** Subscriptions: addresses that are told of events. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, body, E, onceKey, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";
import { SecretOnce } from "../kit/action";
import { Button, Dialog, Form } from "../kit/control";
import { Empty, Panel } from "../kit/panel";
import { Pages, Sheet } from "../kit/pages";
import { Foreign } from "../kit/text";
import { Fields, givenOf, type Draft } from "./form";

export type Subscription = Schemas["SubscriptionView"];

export function Subscriptions({ place }: { place: Place }) {
  return (
    <Panel title="Subscriptions" actions={<Create place={place} />}>
      <Pages<Subscription>
        queryKey={["subscriptions", place]}
        read={async (cursor) => body(await api.GET(`${E}/subscriptions`, { params: { path: place, query: { cursor } } }))}
        empty={
          <Empty title="No subscriptions yet">
            <p>A subscription posts events, such as a job's end, to an address of yours, signed and tried again until it is taken.</p>
          </Empty>
        }
      >
        {(found) => (
          <Sheet label="Subscriptions" heads={["Address", "Events", "State"]}>
            {found.map((one) => (
              <tr key={one.id}>
                <th scope="row">
                  <Link to="/e/$org/$project/$environment/subscriptions/$subscription" params={{ ...place, subscription: one.id }}>
                    <Foreign>{one.url}</Foreign>
                  </Link>
                </th>
                <td>{one.events.join(", ")}</td>
                <td>
                  <Standing one={one} />
                </td>
              </tr>
            ))}
          </Sheet>
        )}
      </Pages>
    </Panel>
  );
}

export function Standing({ one }: { one: Subscription }) {
  if (!one.enabled) return <span className="state bad">disabled{one.disabled_reason && `: ${one.disabled_reason.replaceAll("_", " ")}`}</span>;
  return one.failing_since ? <span className="state warn">failing</span> : <span className="state good">enabled</span>;
}

function Create({ place }: { place: Place }) {
  const [isOpen, setOpen] = useState(false);
  const may = useMay(place, "OperateEnvironment");
  return (
    <>
      <Button isDisabled={!may.allowed} onPress={() => setOpen(true)}>
        New subscription…
      </Button>
      <Dialog title="New subscription" isOpen={isOpen} onClose={() => setOpen(false)}>
        <Steps place={place} close={() => setOpen(false)} />
      </Dialog>
    </>
  );
}

function Steps({ place, close }: { place: Place; close: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [once] = useState(onceKey);
  const [draft, setDraft] = useState<Draft>({ url: "", events: "job.*", description: "" });
  const make = useMutation<Subscription, Problem>({
    mutationFn: async () => {
      const given = givenOf(draft);
      return body(await api.POST(`${E}/subscriptions`, { params: { path: place, header: { "Idempotency-Key": once } }, body: given }));
    },
    onSuccess: () => client.invalidateQueries({ queryKey: ["subscriptions", place] }),
  });
  const made = make.data;
  if (made?.secret) {
    const show = async () => {
      close();
      await navigate({ to: "/e/$org/$project/$environment/subscriptions/$subscription", params: { ...place, subscription: made.id } });
    };
    return (
      <SecretOnce label="Secret" secret={made.secret} close={() => void show()}>
        <p>
          Deliveries are signed with it as Standard Webhooks say: the receiver verifies <code>webhook-signature</code>.
        </p>
      </SecretOnce>
    );
  }
  return (
    <Form submit="Create" isBusy={make.isPending} isDisabled={!draft.url.trim()} problem={make.error} onSubmit={() => make.mutate()} onCancel={close}>
      <Fields draft={draft} change={(part) => setDraft({ ...draft, ...part })} problem={make.error} />
    </Form>
  );
}
