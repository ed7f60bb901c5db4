import { describe, expect, it } from "vitest";
import { exampleOf } from "./example";

describe("a payload to begin with", () => {
  it("has what the schema asks for", () => {
    const schema = {
      type: "object",
      required: ["url", "size", "deep"],
      properties: { url: { type: "string", default: "x" }, size: { enum: ["s", "m"] }, deep: { $ref: "#/$defs/Deep" }, more: { type: "string" } },
      $defs: { Deep: { properties: { list: { type: "array" }, n: { anyOf: [{ type: "integer" }, { type: "null" }] } } } },
    };
    expect(exampleOf(schema)).toEqual({ url: "x", size: "s", deep: { list: [], n: 0 } });
    expect(exampleOf(null)).toEqual({});
  });

  it("ends where a schema names itself", () => {
    const schema = { $ref: "#/$defs/A", $defs: { A: { properties: { a: { $ref: "#/$defs/A" } } } } };
    expect(JSON.stringify(exampleOf(schema))).toContain("null");
  });
});
