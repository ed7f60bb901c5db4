/** A payload to begin with, from a function's schema: what must be there, with the simplest value of its type. */
type Schema = {
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  examples?: unknown[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  $ref?: string;
  $defs?: Record<string, Schema>;
};

const DEPTH = 8;

export function exampleOf(schema: unknown): unknown {
  return isSchema(schema) ? example(schema, schema, DEPTH) : {};
}

function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null;
}

function example(schema: Schema, root: Schema, depth: number): unknown {
  const known = [schema.default, schema.const, schema.examples?.[0], schema.enum?.[0]].find((value) => value !== undefined);
  if (known !== undefined || depth === 0) return known ?? null;
  const other = schema.$ref ? root.$defs?.[schema.$ref.replace("#/$defs/", "")] : (schema.anyOf ?? schema.oneOf)?.[0];
  if (other) return example(other, root, depth - 1);
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  switch (type ?? (schema.properties ? "object" : "null")) {
    case "object": {
      const names = schema.required ?? Object.keys(schema.properties ?? {});
      return Object.fromEntries(names.map((name) => [name, example(schema.properties?.[name] ?? {}, root, depth - 1)]));
    }
    case "array":
      return [];
    case "string":
      return "";
    case "integer":
    case "number":
      return 0;
    case "boolean":
      return false;
    default:
      return null;
  }
}
