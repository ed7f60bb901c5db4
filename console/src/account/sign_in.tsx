/** Where one signs in: as a person, or with a key. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import * as Aria from "react-aria-components";
import { whyEnded } from "../api/credential";
import { Problem } from "../api/problem";
import { Field, Form } from "../kit/control";
import { signInWithKey, signInWithPassword, type WhoAmI } from "./session";

type Given = { kind: "key"; key: string } | { kind: "person"; email: string; password: string };

export function SignIn() {
  const { to } = useSearch({ from: "/sign-in" });
  const navigate = useNavigate();
  const client = useQueryClient();
  const ended = whyEnded();
  const attempt = useMutation<WhoAmI, Problem, Given>({
    mutationFn: (given) => (given.kind === "key" ? signInWithKey(given.key) : signInWithPassword(given.email, given.password)),
    retry: false,
    onSuccess: async () => {
      client.clear();
      await navigate({ href: to ?? "/", replace: true });
    },
  });
  return (
    <main className="sign-in">
      <h1>
        <img src="/icon.svg" alt="" width="32" height="32" /> Waypost
      </h1>
      {ended && !attempt.error && (
        <p className="note" role="status">
          {ended.detail}
        </p>
      )}
      <Aria.Tabs className="tabs">
        <Aria.TabList aria-label="How to sign in" className="tab-list">
          <Aria.Tab id="person" className="tab">
            Person
          </Aria.Tab>
          <Aria.Tab id="key" className="tab">
            Key
          </Aria.Tab>
        </Aria.TabList>
        <Aria.TabPanel id="person">
          <PersonForm attempt={attempt} />
        </Aria.TabPanel>
        <Aria.TabPanel id="key">
          <KeyForm attempt={attempt} />
        </Aria.TabPanel>
      </Aria.Tabs>
    </main>
  );
}

type Attempt = { mutate: (given: Given) => void; isPending: boolean; error: Problem | null };

function PersonForm({ attempt }: { attempt: Attempt }) {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  return (
    <Form
      submit="Sign in"
      isBusy={attempt.isPending}
      isDisabled={!email || !password}
      problem={attempt.error}
      onSubmit={() => attempt.mutate({ kind: "person", email, password })}
    >
      <Field label="E-mail address" type="email" autoComplete="username" value={email} onChange={setEmail} />
      <Field label="Password" type="password" autoComplete="current-password" value={password} onChange={setPassword} />
      <p className="hint">
        No account yet? The operator makes the first one with <code>waypost admin create-user</code>; whoever administers the
        organization invites the others.
      </p>
    </Form>
  );
}

function KeyForm({ attempt }: { attempt: Attempt }) {
  const [key, setKey] = useState("");
  return (
    <Form
      submit="Use this key"
      isBusy={attempt.isPending}
      isDisabled={!key.trim()}
      problem={attempt.error}
      onSubmit={() => attempt.mutate({ kind: "key", key: key.trim() })}
    >
      <Field
        label="API key"
        type="password"
        autoComplete="off"
        value={key}
        onChange={setKey}
        code
        hint="wp_… or wpe_…: kept for this tab only, and gone when it is closed."
      />
    </Form>
  );
}
