import { describe, expect, it } from "vitest";
import { treeOf, written } from "../json/tree";
import { begin, compose, faultsOf, fill, Unshown } from "./draft";
import { shapeOf } from "./shape";

const BIG = "1234567890123456789012345678901234567890";
// As the SDK writes it for a typed function.
const SCHEMA = `{"$ref":"#/$defs/S","$defs":{
  "S":{"title":"S","description":"Makes a thumbnail","type":"object","required":["url","n","c","p"],"properties":{
    "url":{"type":"string","description":"where it is","minLength":1,"pattern":"^https?:"},
    "n":{"type":"integer","minimum":1,"maximum":${BIG}},
    "c":{"$ref":"#/$defs/Color"},"p":{"$ref":"#/$defs/P"},
    "ps":{"type":"array","items":{"$ref":"#/$defs/P"},"maxItems":2,"default":[]},
    "opt":{"anyOf":[{"type":"string"},{"type":"null"}],"default":null},
    "u":{"anyOf":[{"type":"integer"},{"type":"string"}],"default":3},
    "m":{"type":"object","additionalProperties":{"type":"integer"}},
    "b":{"type":"boolean","default":false}}},
  "Color":{"enum":["g",12.50,${BIG}]},
  "P":{"type":"object","required":["x"],"properties":{"x":{"type":"number","exclusiveMinimum":0},"next":{"$ref":"#/$defs/P"}}}}}`;
const shape = shapeOf(SCHEMA);
const FULL = `{"url":"https://x","n":${BIG},"c":12.50,"p":{"x":1E400},"ps":[{"x":0.10,"next":{"x":2}}],"opt":null,"u":"3","m":{"a":1.0},"b":true}`;

describe("the shape of a schema", () => {
  it("has what a form can show, and JSON for the rest", () => {
    expect(shape.kind === "object" && shape.fields.map((field) => [field.name, field.shape.kind, field.required])).toEqual([
      ["url", "text", true], ["n", "number", true], ["c", "choice", true], ["p", "object", true], ["ps", "array", false],
      ["opt", "text", false], ["u", "json", false], ["m", "json", false], ["b", "choice", false],
    ]);
    expect(shape.description).toBe("Makes a thumbnail");
    expect(shape.kind === "object" && shape.fields[2]?.shape).toMatchObject({ options: ['"g"', "12.50", BIG] });
  });

  it("is JSON where there is no schema, or one that no form shows", () => {
    for (const schema of [undefined, "null", "true", "{}", '{"type":"array","prefixItems":[{}]}', '{"$ref":"http://elsewhere"}', '{"anyOf":[{"type":"string"},{"type":"integer"}]}']) {
      expect(shapeOf(schema).kind).toBe("json");
    }
  });

  it("ends where a schema names itself", () => {
    expect(JSON.stringify(shape).length).toBeLessThan(50_000);
    expect(shapeOf('{"$ref":"#"}').kind).toBe("json");
  });
});

describe("what was typed", () => {
  it("is the same JSON again, digit by digit", () => {
    expect(written(treeOf(compose(shape, fill(shape, treeOf(FULL), true), true) ?? ""))).toBe(FULL);
    expect(faultsOf(shape, fill(shape, treeOf(FULL), true), true)).toEqual(new Map());
  });

  it("has no place for what the schema does not name", () => {
    for (const [text, path] of [
      [FULL.replace('"b":true', '"z":1'), "/z"], [FULL.replace('"b":true', '"b":1'), "/b"], [FULL.replace('{"x":1E400}', '{"x":"1"}'), "/p/x"],
      [FULL.replace("https://x", "a\\r"), "/url"], ["[]", ""],
    ] as const) {
      expect(() => fill(shape, treeOf(text), true)).toThrow(new Unshown(path));
    }
  });

  it("begins with what must be there and leaves out what may be", () => {
    expect(compose(shape, begin(shape, true), true)).toBe('{"url":"","p":{}}');
    const paths = [...faultsOf(shape, begin(shape, true), true).keys()];
    expect(paths).toEqual(["/url", "/n", "/c", "/p/x"]);
  });

  it("may be a list, a text or nothing as a whole", () => {
    const list = shapeOf('{"type":"array","items":{"type":"string"},"minItems":1}');
    expect(compose(list, begin(list, true), true)).toBe('[""]');
    expect(compose(list, fill(list, treeOf('["a","b"]'), true), true)).toBe('["a","b"]');
    const perhaps = shapeOf('{"anyOf":[{"type":"integer"},{"type":"null"}]}');
    expect(compose(perhaps, begin(perhaps, true), true)).toBe("null");
    expect(faultsOf(perhaps, begin(perhaps, true), true).size).toBe(0);
    expect(compose(perhaps, fill(perhaps, treeOf("7"), true), true)).toBe("7");
    const flag = shapeOf('{"type":["boolean","null"],"default":true}');
    expect(flag).toMatchObject({ kind: "choice", options: ["true", "false", "null"] });
    expect(compose(flag, begin(flag, true), true)).toBe("true");
  });

  it("is judged where it lies, whole numbers to the last digit", () => {
    const told = (text: string) => [...faultsOf(shape, fill(shape, treeOf(text), true), true)].map(([path, fault]) => `${path} ${fault}`);
    expect(told(FULL.replace(`"n":${BIG}`, `"n":${BIG.replace(/0$/, "1")}`))).toEqual([`/n At most ${BIG}.`]);
    expect(told(FULL.replace("1E400", "0"))).toEqual(["/p/x More than 0."]);
    expect(told(FULL.replace("https://x", "ftp://x"))).toEqual(["/url It must match ^https?:"]);
    expect(told(FULL.replace('{"x":0.10,', '{"x":1},{"x":1},{"x":0.10,'))).toEqual(["/ps At most 2 of them."]);
    const draft = fill(shape, treeOf(FULL), true);
    const typed = (index: number, text: string) => ({ ...draft, parts: draft.parts.with(index, { ...begin({ ...shape, kind: "json" }, true), text }) });
    expect([...faultsOf(shape, typed(1, "1.5"), true)]).toEqual([["/n", "This is no whole number."]]);
    expect([...faultsOf(shape, typed(6, "{"), true).keys()]).toEqual(["/u"]);
    expect(compose(shape, typed(1, "many"), true)).toContain('"n":"many"');
  });
});
