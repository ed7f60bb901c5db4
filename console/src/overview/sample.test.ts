import { describe, expect, it } from "vitest";
import { exampleOf } from "../function/example";
import type { Queue } from "../function/model";
import { plainTags, snippet } from "../node/snippet";
import { note, ratesOf } from "./sample";

const queue = (completed: number, failed: number, waiting: number): Queue =>
  ({ states: { waiting, running: 0, completed, failed }, functions: [], oldest_waiting_at: null }) as Queue;

describe("rates of an overview", () => {
  it("are told from two looks, and never below nothing", () => {
    note("a", queue(10, 0, 5), 1_000);
    note("a", queue(10, 0, 5), 1_000);
    note("a", queue(28, 2, 1), 3_000);
    const rates = ratesOf(note("a", queue(0, 0, 0), 4_000));
    expect(rates).toEqual({ at: [3, 4], ended: [10, 0], failed: [1, 0], waiting: [1, 0] });
  });

  it("forget what is older than an hour", () => {
    note("b", queue(0, 0, 0), 0);
    expect(note("b", queue(1, 0, 0), 3_600_001)).toHaveLength(1);
  });
});

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

describe("the program of a new node", () => {
  it("quotes what goes into a shell and leaves wildcards out of the tags", () => {
    const made = { client_id: "wpn_x", client_secret: "it's", relay_address: "r:1" };
    expect(snippet("http://w", made, plainTags(["gpu", "region=*"]))).toContain(`export WAYPOST_CLIENT_SECRET='it'\\''s'`);
    expect(snippet("http://w", made, plainTags(["gpu", "region=*"]))).toContain('Node(tags=["gpu"])');
  });
});
