/** Changing a subscription: its address, its events, its description. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, body, E, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { Form } from "../kit/control";
import { Edit, Outrun, tagged, type Tagged } from "../kit/edit";
import { Fields, givenOf, type Draft } from "./form";
import type { Subscription } from "./list";

export function EditSubscription({ one, place, isDisabled }: { one: Subscription; place: Place; isDisabled: boolean }) {
  const path = { ...place, subscription: one.id };
  return (
    <Edit<Subscription>
      title="Edit this subscription"
      queryKey={["subscription", place, one.id]}
      isDisabled={isDisabled}
      read={async () => tagged(await api.GET(`${E}/subscriptions/{subscription}`, { params: { path } }))}
    >
      {(found, close, again) => <Steps found={found} place={place} close={close} again={again} />}
    </Edit>
  );
}

function Steps({ found: { value, etag }, place, close, again }: { found: Tagged<Subscription>; place: Place; close: () => void; again: () => void }) {
  const client = useQueryClient();
  const [draft, setDraft] = useState<Draft>({ url: value.url, events: value.events.join(" "), description: value.description });
  const change = useMutation<Subscription, Problem>({
    mutationFn: async () => {
      const params = { path: { ...place, subscription: value.id }, header: { "If-Match": etag } };
      return body(await api.PATCH(`${E}/subscriptions/{subscription}`, { params, body: givenOf(draft) }));
    },
    onSuccess: async () => {
      close();
      await Promise.all([["subscription", place, value.id], ["subscriptions", place]].map((queryKey) => client.invalidateQueries({ queryKey })));
    },
  });
  return (
    <Form submit="Save" isBusy={change.isPending} isDisabled={!draft.url.trim()} problem={change.error} onSubmit={() => change.mutate()} onCancel={close}>
      <Outrun problem={change.error} again={again} />
      <Fields draft={draft} change={(part) => setDraft({ ...draft, ...part })} problem={change.error} />
    </Form>
  );
}
