/** What somebody has put into a form so far, of a shape: as JSON and back without loss, and what is wrong with it. */
import { faultOf, indented, treeOf, written, type Tree } from "../json/tree";
import type { Shape } from "./shape";

/**
 * `given`: it is there, of what may be left out. `isNull`: it is null. `text`: what is typed, of an option the option's
 * JSON. `parts`: of an object its fields, of an array its items.
 */
export type Draft = { given: boolean; isNull: boolean; text: string; parts: Draft[] };

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const WHOLE = /^-?(0|[1-9]\d*)$/;

/** A form to begin with: what must be there, as its default or example is. What may be left out is. */
export function begin(shape: Shape, required: boolean): Draft {
  if (required && shape.initial !== undefined) {
    try {
      return fill(shape, treeOf(shape.initial), true);
    } catch (error) {
      if (!(error instanceof Unshown)) throw error;
    }
  }
  return { given: required && !shape.nullable, isNull: false, text: "", parts: partsOf(shape) };
}

function partsOf(shape: Shape): Draft[] {
  if (shape.kind === "object") return shape.fields.map((field) => begin(field.shape, field.required));
  if (shape.kind === "array") return Array.from({ length: Math.min(shape.least, 20) }, () => begin(shape.item, true));
  return [];
}

/** The JSON of a draft; undefined where it is left out. What is no number yet is text: nothing that was typed is lost. */
export function compose(shape: Shape, draft: Draft, required: boolean): string | undefined {
  const absent = required && shape.nullable ? "null" : undefined;
  if (draft.isNull) return "null";
  switch (shape.kind) {
    case "object": {
      if (!draft.given) return absent;
      const members = shape.fields.flatMap((field, index) => {
        const text = compose(field.shape, draft.parts[index] as Draft, field.required);
        return text === undefined ? [] : [`${JSON.stringify(field.name)}:${text}`];
      });
      return `{${members.join(",")}}`;
    }
    case "array":
      return draft.given ? `[${draft.parts.map((part) => compose(shape.item, part, true) ?? "null").join(",")}]` : absent;
    case "choice":
      return draft.text || absent;
    case "text":
      return draft.text === "" && (!required || shape.nullable) ? absent : JSON.stringify(draft.text);
    case "number":
      return draft.text.trim() === "" ? absent : NUMBER.test(draft.text.trim()) ? draft.text.trim() : JSON.stringify(draft.text);
    case "json":
      return draft.text.trim() === "" ? absent : faultOf(draft.text) ? JSON.stringify(draft.text) : draft.text;
  }
}

/** A payload that has something for which the form has no place; `path` is its JSON Pointer. */
export class Unshown extends Error {
  constructor(readonly path: string) {
    super(`The form has no place for ${path || "this"}.`);
  }
}

/** The draft of a JSON tree, from which `compose` makes the same JSON again. Throws Unshown. */
export function fill(shape: Shape, tree: Tree, required: boolean, path = ""): Draft {
  const draft: Draft = { given: true, isNull: false, text: "", parts: partsOf(shape) };
  if (shape.kind === "json") return { ...draft, text: indented(written(tree)) };
  if (shape.kind === "choice") return { ...draft, text: known(shape.options, written(tree), path) };
  if (tree.kind === "null" && shape.nullable) return { ...draft, given: false, isNull: true };
  if (shape.kind === "text" && tree.kind === "string" && !tree.value.includes("\r") && (tree.value !== "" || (required && !shape.nullable))) return { ...draft, text: tree.value };
  if (shape.kind === "number" && tree.kind === "number") return { ...draft, text: tree.text };
  if (shape.kind === "array" && tree.kind === "array") {
    return { ...draft, parts: tree.items.map((item, index) => fill(shape.item, item, true, `${path}/${index}`)) };
  }
  if (shape.kind !== "object" || tree.kind !== "object") throw new Unshown(path);
  const parts = shape.fields.map((field): Draft => {
    const found = tree.members.filter((member) => member.key === field.name);
    const [only] = found;
    if (found.length > 1) throw new Unshown(`${path}/${field.name}`);
    return only ? fill(field.shape, only.value, field.required, `${path}/${field.name}`) : begin({ ...field.shape, initial: undefined }, field.required);
  });
  const stranger = tree.members.find((member) => !shape.fields.some((field) => field.name === member.key));
  if (stranger) throw new Unshown(`${path}/${stranger.key}`);
  return { ...draft, parts };
}

function known(options: string[], text: string, path: string): string {
  if (options.includes(text)) return text;
  throw new Unshown(path);
}

/** What is wrong, by JSON Pointer. */
export function faultsOf(shape: Shape, draft: Draft, required: boolean, path = ""): Map<string, string> {
  if (draft.isNull) return new Map();
  const nested = shape.kind === "object" || shape.kind === "array";
  const empty = nested ? !draft.given : draft.text.trim() === "" && (shape.kind !== "text" || (draft.text === "" && shape.least > 0));
  if (empty) return new Map(required && !shape.nullable ? [[path, "This must be given."]] : []);
  const own = ownFault(shape, draft, required);
  const found = new Map(own ? [[path, own]] : []);
  if (shape.kind === "object") shape.fields.forEach((field, index) => merge(found, faultsOf(field.shape, draft.parts[index] as Draft, field.required, `${path}/${field.name}`)));
  if (shape.kind === "array") draft.parts.forEach((part, index) => merge(found, faultsOf(shape.item, part, true, `${path}/${index}`)));
  return found;
}

function merge(found: Map<string, string>, more: Map<string, string>): void {
  for (const [path, fault] of more) found.set(path, fault);
}

function ownFault(shape: Shape, draft: Draft, required: boolean): string | null {
  const text = draft.text.trim();
  switch (shape.kind) {
    case "number": {
      if (!(shape.whole ? WHOLE : NUMBER).test(text)) return shape.whole ? "This is no whole number." : "This is no number.";
      if (shape.least !== undefined && compare(text, shape.least) < 0) return `At least ${shape.least}.`;
      if (shape.most !== undefined && compare(text, shape.most) > 0) return `At most ${shape.most}.`;
      if (shape.above !== undefined && compare(text, shape.above) <= 0) return `More than ${shape.above}.`;
      if (shape.below !== undefined && compare(text, shape.below) >= 0) return `Less than ${shape.below}.`;
      return null;
    }
    case "text": {
      if (draft.text === "" && (!required || shape.nullable)) return null;
      const length = [...draft.text].length;
      if (length < shape.least) return `At least ${characters(shape.least)}; these are ${length}.`;
      if (length > shape.most) return `At most ${characters(shape.most)}; these are ${length}.`;
      return shape.pattern !== undefined && misses(shape.pattern, draft.text) ? `It must match ${shape.pattern}` : null;
    }
    case "array":
      if (draft.parts.length < shape.least) return `At least ${shape.least} of them.`;
      return draft.parts.length > shape.most ? `At most ${shape.most} of them.` : null;
    case "json": {
      const wrong = faultOf(draft.text);
      return wrong && `${wrong.message} (line ${wrong.line}, column ${wrong.column}).`;
    }
    default:
      return null;
  }
}

function characters(number: number): string {
  return `${number} ${number === 1 ? "character" : "characters"}`;
}

/** Below, at or above 0. Whole numbers digit by digit; others as near as JavaScript tells them apart. */
function compare(one: string, other: string): number {
  if (WHOLE.test(one) && WHOLE.test(other)) return BigInt(one) < BigInt(other) ? -1 : Number(BigInt(one) > BigInt(other));
  return Number(one) - Number(other);
}

/** A pattern that JavaScript cannot read judges nothing: the function has the last word. */
function misses(pattern: string, text: string): boolean {
  try {
    return !new RegExp(pattern, "u").test(text);
  } catch {
    return false;
  }
}
