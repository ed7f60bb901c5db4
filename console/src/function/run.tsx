/** Running a function once: a form of its schema's fields, or the payload as JSON. */
import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";
import { ToggleButton, ToggleButtonGroup } from "react-aria-components";
import { environmentPath, onceKey, raw, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { faultOf, indented, textAt, treeOf } from "../json/tree";
import { Field, Form } from "../kit/control";
import { Loaded } from "../kit/panel";
import { begin, compose, faultsOf, fill, Unshown, type Draft } from "./draft";
import { exampleOf } from "./example";
import { Parts, FieldOf } from "./field";
import { shapeOf, type Shape } from "./shape";
import { selectorsOf } from "./selector";

type Props = { name: string; place: Place; close: () => void };
type Mode = "form" | "json";

export function Run({ name, place, close }: Props) {
  // As text: the bounds and choices of a schema may be numbers with more digits than JavaScript has.
  const schema = useQuery<string | null, Problem>({
    queryKey: ["input-schema", place, name],
    queryFn: async () => textAt(await raw(`${environmentPath(place)}/functions/${encodeURIComponent(name)}`), [["input_schema"]])[0] ?? null,
    staleTime: Infinity,
    gcTime: 0,
  });
  return <Loaded query={schema}>{(text) => <Ask name={name} place={place} close={close} schema={text === "null" ? null : text} />}</Loaded>;
}

function Ask({ name, place, close, schema }: Props & { schema: string | null }) {
  const shape = useMemo(() => shapeOf(schema ?? undefined), [schema]);
  const payload = usePayload(shape, schema);
  const [tags, setTags] = useState("");
  const run = useSubmission(name, place, close);
  const submit = () => {
    const text = payload.taken();
    if (text !== null) run.mutate({ text, tags: selectorsOf(tags) });
  };
  return (
    <Form submit="Run" isBusy={run.isPending} problem={run.error} onSubmit={submit} onCancel={close}>
      {shape.kind !== "json" && <Modes mode={payload.mode} onChange={payload.turn} />}
      <div className="form" ref={payload.place}>
        {payload.mode === "form" ? (
          <Fields shape={shape} draft={payload.draft} faults={payload.faults} onChange={payload.change} />
        ) : (
          <Field
            label="Payload"
            rows={10}
            value={payload.text}
            onChange={payload.type}
            code
            fault={payload.fault}
            hint={schema ? "Begun from the function's schema." : "The function declares no schema: any JSON will do."}
          />
        )}
      </div>
      <Field label="Tags" value={tags} onChange={setTags} code placeholder="gpu, mem_gb>=16" hint="With commas between; all must hold. None: any node with the function." />
    </Form>
  );
}

function Modes({ mode, onChange }: { mode: Mode; onChange: (mode: Mode) => void }) {
  return (
    <ToggleButtonGroup aria-label="Payload as" className="toggles" selectionMode="single" disallowEmptySelection selectedKeys={[mode]} onSelectionChange={(keys) => onChange([...keys][0] as Mode)}>
      <ToggleButton id="form" className="toggle">
        Form
      </ToggleButton>
      <ToggleButton id="json" className="toggle">
        JSON
      </ToggleButton>
    </ToggleButtonGroup>
  );
}

function Fields({ shape, draft, faults, onChange }: { shape: Shape; draft: Draft; faults: ReadonlyMap<string, string>; onChange: (draft: Draft) => void }) {
  return (
    <>
      {shape.description && <p>{shape.description}</p>}
      <p className="hint">What has a * must be given. What is left empty is left out.</p>
      {shape.kind === "object" && !shape.nullable ? (
        <Parts shape={shape} name="" draft={draft} path="" faults={faults} onChange={onChange} />
      ) : (
        <FieldOf field={{ name: "Payload", required: true, shape: { ...shape, description: "" } }} draft={draft} path="" faults={faults} onChange={onChange} />
      )}
    </>
  );
}

/** The payload in both of its ways. Turning from one to the other loses nothing, or is refused with the reason. */
function usePayload(shape: Shape, schema: string | null) {
  const [mode, setMode] = useState<Mode>(shape.kind === "json" ? "json" : "form");
  const [draft, setDraft] = useState(() => begin(shape, true));
  const [text, setText] = useState(() => indented(JSON.stringify(exampleOf(schema && JSON.parse(schema)))));
  const [fault, setFault] = useState<string | null>(null);
  const [judged, judge] = useState(false);
  const place = useRef<HTMLDivElement>(null);
  const faults = useMemo(() => (judged ? faultsOf(shape, draft, true) : new Map<string, string>()), [judged, shape, draft]);
  const [refused, refuse] = useState(0);
  useEffect(() => {
    if (refused > 0) place.current?.querySelector<HTMLElement>("[aria-invalid=true], [role=alert]")?.focus();
  }, [refused]);

  const wrongJson = () => {
    const found = faultOf(text);
    setFault(found && `${found.message} (line ${found.line}, column ${found.column}).`);
    return found !== null;
  };
  const turn = (next: Mode) => {
    if (next === mode) return;
    if (next === "json") setText(indented(compose(shape, draft, true) ?? "null"));
    else if (wrongJson()) return;
    else {
      try {
        setDraft(fill(shape, treeOf(text), true));
      } catch (error) {
        if (!(error instanceof Unshown)) throw error;
        return setFault(error.message);
      }
    }
    judge(false);
    setFault(null);
    setMode(next);
  };
  /** The payload's JSON, null when something is wrong with it: then that is told where it lies. */
  const taken = (): string | null => {
    judge(true);
    const wrong = mode === "json" ? wrongJson() : faultsOf(shape, draft, true).size > 0;
    if (wrong) refuse(refused + 1);
    return wrong ? null : mode === "json" ? text : (compose(shape, draft, true) ?? "null");
  };
  return { mode, turn, draft, change: setDraft, text, type: setText, fault, faults, taken, place };
}

function useSubmission(name: string, place: Place, close: () => void) {
  const navigate = useNavigate();
  const [once] = useState(onceKey);
  return useMutation<{ id: string }, Problem, { text: string; tags: string[] }>({
    mutationFn: async ({ text, tags }) => {
      const headers = { "content-type": "application/json", "idempotency-key": once };
      const body = `{"function":${JSON.stringify(name)},"payload":${text},"tags":${JSON.stringify(tags)}}`;
      return JSON.parse(await raw(`${environmentPath(place)}/jobs`, { method: "POST", body, headers })) as { id: string };
    },
    onSuccess: async (made) => {
      close();
      await navigate({ to: "/e/$org/$project/$environment/jobs/$job", params: { ...place, job: made.id } });
    },
  });
}
