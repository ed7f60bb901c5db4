/**
 * What a form can show of a JSON schema, read from the schema's text: no number of it passes through JavaScript's.
 * What it cannot show (unions, maps, tuples, schemas without end) is a part that is typed as JSON.
 */
import { treeOf, written, type Tree } from "../json/tree";

type About = { title: string; description: string; nullable: boolean; initial: string | undefined };

/** `options`, `initial`, and the bounds of numbers are JSON as it is written. */
export type Shape = About &
  (
    | { kind: "text"; least: number; most: number; pattern: string | undefined }
    | { kind: "number"; whole: boolean; least: string | undefined; most: string | undefined; above: string | undefined; below: string | undefined }
    | { kind: "choice"; options: string[] }
    | { kind: "object"; fields: Field[] }
    | { kind: "array"; item: Shape; least: number; most: number }
    | { kind: "json" }
  );

export type Field = { name: string; required: boolean; shape: Shape };

const DEEPEST = 8;
const MOST_PARTS = 300;

/** The shape of a schema, `json` where there is none. */
export function shapeOf(schema: string | undefined): Shape {
  const root: Tree = schema === undefined ? { kind: "null", text: "null" } : treeOf(schema);
  let parts = 0;
  return grow(root, 0);

  function grow(given: Tree, depth: number): Shape {
    const about = aboutOf(given, { title: "", description: "", nullable: false, initial: undefined });
    const { schema, ...known } = settle(given, about, root);
    parts += 1;
    if (schema === null || depth > DEEPEST || parts > MOST_PARTS) return { ...known, kind: "json" };
    return { ...known, ...kindOf(schema, known.nullable, (inner) => grow(inner, depth + 1)) } as Shape;
  }
}

/** Follows references and what is a choice of one, and takes null out of a type. `schema` null: no form shows it. */
function settle(given: Tree, about: About, root: Tree): About & { schema: Tree | null } {
  let schema = given;
  for (let step = 0; step < DEEPEST * 2; step += 1) {
    const others = [...listOf(at(schema, "anyOf")), ...listOf(at(schema, "oneOf"))];
    const real = others.filter((one) => textOf(at(one, "type")) !== "null");
    const all = listOf(at(schema, "allOf"));
    const reference = textOf(at(schema, "$ref"));
    if (real.length < others.length) about = { ...about, nullable: true };
    let next: Tree | undefined;
    if (reference !== undefined) next = pointed(root, reference);
    else if (others.length > 0) next = real.length === 1 ? real[0] : undefined;
    else if (all.length > 0) next = all.length === 1 ? all[0] : undefined;
    else return schema.kind === "object" ? { ...about, schema } : { ...about, schema: null };
    if (next === undefined) break;
    schema = next;
    about = aboutOf(schema, about);
  }
  return { ...about, schema: null };
}

/** What stands nearer to the use counts for more. */
function aboutOf(schema: Tree, before: About): About {
  const initial = at(schema, "default") ?? at(schema, "const") ?? listOf(at(schema, "examples"))[0];
  return {
    title: before.title || (textOf(at(schema, "title")) ?? ""),
    description: before.description || (textOf(at(schema, "description")) ?? ""),
    nullable: before.nullable,
    initial: before.initial ?? (initial && written(initial)),
  };
}

type Kind = Record<string, unknown> & { kind: Shape["kind"] };

function kindOf(schema: Tree, nullable: boolean, grow: (inner: Tree) => Shape): Kind {
  const options = at(schema, "const") ? [at(schema, "const") as Tree] : listOf(at(schema, "enum"));
  if (options.length > 0) return choice(options.map(written), nullable);
  const types = [at(schema, "type")].flatMap((type) => (type?.kind === "array" ? listOf(type) : type ? [type] : [])).map(textOf);
  const named = types.filter((type) => type !== "null");
  const properties = at(schema, "properties");
  const type = named.length === 0 && properties ? "object" : named.length === 1 ? named[0] : undefined;
  const mayBeNull = nullable || named.length < types.length;
  return { ...byType(type, schema, mayBeNull, grow), ...(mayBeNull ? { nullable: true } : {}) };
}

function byType(type: string | undefined, schema: Tree, nullable: boolean, grow: (inner: Tree) => Shape): Kind {
  const size = (name: string, otherwise: number) => Number(numberOf(at(schema, name)) ?? otherwise);
  switch (type) {
    case "string":
      return { kind: "text", least: size("minLength", 0), most: size("maxLength", Infinity), pattern: textOf(at(schema, "pattern")) };
    case "integer":
    case "number": {
      const [least, most, above, below] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].map((name) => numberOf(at(schema, name)));
      return { kind: "number", whole: type === "integer", least, most, above, below };
    }
    case "boolean":
      return choice(["true", "false"], nullable);
    case "object": {
      const properties = at(schema, "properties");
      if (properties?.kind !== "object" || properties.members.length === 0) return { kind: "json" };
      const required = new Set(listOf(at(schema, "required")).map(textOf));
      const fields = properties.members.map(({ key, value }) => ({ name: key, required: required.has(key), shape: grow(value) }));
      // The platform does not keep the order of a schema's keys: what must be given comes first.
      return { kind: "object", fields: fields.toSorted((one, other) => Number(other.required) - Number(one.required)) };
    }
    case "array": {
      const items = at(schema, "items");
      if (items?.kind !== "object" || at(schema, "prefixItems")) return { kind: "json" };
      return { kind: "array", item: grow(items), least: size("minItems", 0), most: size("maxItems", Infinity) };
    }
    default:
      return { kind: "json" };
  }
}

function choice(options: string[], nullable: boolean): Kind {
  return { kind: "choice", options: nullable && !options.includes("null") ? [...options, "null"] : options };
}

function at(tree: Tree, key: string): Tree | undefined {
  return tree.kind === "object" ? tree.members.find((member) => member.key === key)?.value : undefined;
}

function textOf(tree: Tree | undefined): string | undefined {
  return tree?.kind === "string" ? tree.value : undefined;
}

function numberOf(tree: Tree | undefined): string | undefined {
  return tree?.kind === "number" ? tree.text : undefined;
}

function listOf(tree: Tree | undefined): Tree[] {
  return tree?.kind === "array" ? tree.items : [];
}

/** What a JSON Pointer within the schema names. */
function pointed(root: Tree, reference: string): Tree | undefined {
  if (reference !== "#" && !reference.startsWith("#/")) return undefined;
  const steps = reference.split("/").slice(1).map((step) => decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~"));
  return steps.reduce<Tree | undefined>((tree, step) => tree && at(tree, step), root);
}
