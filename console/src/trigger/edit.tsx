/** Changing a trigger: everything but its kind, its scheme and its secrets. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, body, E, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";
import { Edit, Outrun, tagged, type Tagged } from "../kit/edit";
import { commonOf, draftOf, settingsOf } from "./draft";
import { TriggerForm } from "./form";
import type { Trigger } from "./model";

type Props = { trigger: Trigger; place: Place };

export function EditTrigger({ trigger, place, isDisabled }: Props & { isDisabled: boolean }) {
  const path = { ...place, trigger: trigger.id };
  return (
    <Edit<Trigger>
      title={`Edit ${trigger.name}`}
      queryKey={["trigger", place, trigger.id]}
      isDisabled={isDisabled}
      read={async () => tagged(await api.GET(`${E}/triggers/{trigger}`, { params: { path } }))}
    >
      {(found, close, again) => <Steps found={found} place={place} close={close} again={again} />}
    </Edit>
  );
}

function Steps({ found: { value, etag }, place, close, again }: { found: Tagged<Trigger>; place: Place; close: () => void; again: () => void }) {
  const client = useQueryClient();
  const [draft, setDraft] = useState(() => draftOf(value));
  const change = useMutation<Trigger, Problem>({
    mutationFn: async () => {
      const params = { path: { ...place, trigger: value.id }, header: { "If-Match": etag } };
      return body(await api.PATCH(`${E}/triggers/{trigger}`, { params, body: { ...commonOf(draft), ...settingsOf(draft) } as Schemas["TriggerChange"] }));
    },
    onSuccess: async () => {
      close();
      await Promise.all([["trigger", place, value.id], ["triggers", place]].map((queryKey) => client.invalidateQueries({ queryKey })));
    },
  });
  return (
    <TriggerForm
      place={place}
      draft={draft}
      change={(part) => setDraft((before) => ({ ...before, ...part }))}
      of={value.id}
      submit="Save"
      isBusy={change.isPending}
      problem={change.error}
      onSubmit={() => change.mutate()}
      onCancel={close}
    >
      <Outrun problem={change.error} again={again} />
    </TriggerForm>
  );
}
