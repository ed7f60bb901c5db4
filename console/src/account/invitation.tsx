/** Where an invitation's link leads: a password, and one is a member. The token is in the fragment, which no server sees. */
import { useMutation } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { api, body } from "../api/client";
import type { Problem } from "../api/problem";
import { Field, Form } from "../kit/control";
import { Empty } from "../kit/panel";
import { signInWithPassword } from "./session";

export function AcceptInvitation() {
  const navigate = useNavigate();
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get("token") ?? "");
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const accept = useMutation<unknown, Problem>({
    mutationFn: async () => {
      const made = body(await api.POST("/v1/invitations/accept", { body: { token, password, name } }));
      await signInWithPassword(made.person.email, password);
    },
    onSuccess: () => navigate({ to: "/", replace: true }),
  });
  return (
    <main className="sign-in">
      <h1>
        <img src="/icon.svg" alt="" width="32" height="32" /> Join Waypost
      </h1>
      {token === "" ? (
        <Empty title="This link is not whole">
          <p>An invitation's link ends with its token. Ask for it again where you have it from.</p>
        </Empty>
      ) : (
        <Form submit="Join" isBusy={accept.isPending} isDisabled={!password} problem={accept.error} onSubmit={() => accept.mutate()}>
          <Field label="Name" autoComplete="name" value={name} onChange={setName} hint="As others see you." />
          <Field
            label="Password"
            type="password"
            autoComplete="new-password"
            value={password}
            onChange={setPassword}
            hint="At least 12 characters. If you have signed in here before: the one you have."
          />
        </Form>
      )}
    </main>
  );
}
