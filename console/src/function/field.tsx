/** A shape as fields of a form. Each has its name, what it must be, and what is wrong with it. */
import { Button, Choice, Field as TextField } from "../kit/control";
import { begin, type Draft } from "./draft";
import type { Field, Shape } from "./shape";

type Props = {
  field: Field;
  draft: Draft;
  path: string;
  faults: ReadonlyMap<string, string>;
  onChange: (draft: Draft) => void;
};

export function FieldOf({ field, draft, path, faults, onChange }: Props) {
  const { name, required, shape } = field;
  const asked = required && !shape.nullable;
  const fault = faults.get(path);
  const hint = hintOf(shape, required);
  const type = (text: string) => onChange({ ...draft, given: true, isNull: false, text });
  switch (shape.kind) {
    case "object":
    case "array":
      return <Group field={field} draft={draft} path={path} faults={faults} onChange={onChange} />;
    case "choice": {
      const none = ["", asked ? "Choose…" : "Not given"] as const;
      return <Choice label={name} value={draft.text} options={[none, ...shape.options.map((one) => [one, one] as const)]} onChange={type} hint={hint} fault={fault} isRequired={asked} />;
    }
    default:
      return (
        <TextField
          label={name}
          value={draft.text}
          onChange={type}
          hint={hint}
          fault={fault}
          isRequired={asked}
          code={shape.kind !== "text"}
          inputMode={shape.kind === "number" ? (shape.whole ? "numeric" : "decimal") : "text"}
          {...(draft.isNull ? { placeholder: "null" } : {})}
          {...(shape.kind === "text" ? { rows: 1 } : shape.kind === "json" ? { rows: 3 } : {})}
        />
      );
  }
}

/** Fields within a field: those of an object, or the items of a list. */
function Group({ field: { name, required, shape }, draft, path, faults, onChange }: Props) {
  const asked = required && !shape.nullable;
  const fault = faults.get(path);
  const hint = hintOf(shape, required);
  const give = (given: boolean) => onChange({ ...draft, given, isNull: false });
  return (
    <fieldset className="group-of-fields">
      <legend>
        {name}
        {asked && <span aria-hidden="true"> *</span>}
      </legend>
      {hint && <p className="hint">{hint}</p>}
      {draft.given && <Parts shape={shape} name={name} draft={draft} path={path} faults={faults} onChange={onChange} />}
      {fault && (
        <p className="fault" role="alert">
          {fault}
        </p>
      )}
      <div className="buttons">
        {!draft.given && <Button onPress={() => give(true)}>Give {name}</Button>}
        {draft.given && shape.kind === "array" && (
          <Button onPress={() => onChange({ ...draft, parts: [...draft.parts, begin(shape.item, true)] })}>Add {titleOf(name, draft.parts.length)}</Button>
        )}
        {draft.given && !asked && (
          <Button look="quiet" onPress={() => give(false)}>
            Leave {name} out
          </Button>
        )}
      </div>
    </fieldset>
  );
}

type PartsProps = Omit<Props, "field"> & { shape: Shape; name: string };

/** The fields of an object or the items of a list, one below the other. */
export function Parts({ shape, name, draft, path, faults, onChange }: PartsProps) {
  const change = (index: number, part: Draft) => onChange({ ...draft, parts: draft.parts.with(index, part) });
  if (shape.kind === "object") {
    return shape.fields.map((field, index) => (
      <FieldOf key={field.name} field={field} draft={draft.parts[index] as Draft} path={`${path}/${field.name}`} faults={faults} onChange={(part) => change(index, part)} />
    ));
  }
  if (shape.kind !== "array") return null;
  return draft.parts.map((part, index) => (
    <div key={index} className="item-of-list">
      <FieldOf field={{ name: titleOf(name, index), required: true, shape: shape.item }} draft={part} path={`${path}/${index}`} faults={faults} onChange={(one) => change(index, one)} />
      <Button look="quiet" aria-label={`Remove ${titleOf(name, index)}`} onPress={() => onChange({ ...draft, parts: draft.parts.toSpliced(index, 1) })}>
        Remove
      </Button>
    </div>
  ));
}

function titleOf(name: string, index: number): string {
  return `${name} ${index + 1}`;
}

/** The schema's own words, then what it asks for and what comes of leaving it out. */
function hintOf(shape: Shape, required: boolean): string | undefined {
  const kind = shape.kind === "json" ? "JSON" : shape.kind === "number" ? numberOf(shape) : "";
  const otherwise = !required && shape.initial !== undefined && shape.initial !== "null" ? `without it: ${shape.initial}` : "";
  const empty = required && shape.nullable ? "empty: null" : "";
  const facts = [shape.description.replace(/[.;]$/, ""), kind, otherwise, empty].filter(Boolean).join("; ");
  // The schema's words stay as they are.
  return facts ? `${shape.description ? facts[0] : facts[0]?.toUpperCase()}${facts.slice(1)}.` : undefined;
}

function numberOf(shape: Shape & { kind: "number" }): string {
  const bounds = [shape.least && `at least ${shape.least}`, shape.above && `more than ${shape.above}`, shape.most && `at most ${shape.most}`, shape.below && `less than ${shape.below}`];
  return [shape.whole ? "a whole number" : "a number", ...bounds].filter(Boolean).join(", ");
}
