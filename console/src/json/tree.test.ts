import { describe, expect, it } from "vitest";
import { faultOf, indented, itemsOf, shown, textAt, treeOf } from "./tree";

describe("JSON as it is written", () => {
  it("keeps every digit, exponent and trailing zero", () => {
    const numbers = ["1234567890123456789012345678901234567890", "12.50", "1E400", "-0", "0.1e-7"];
    const tree = treeOf(`[${numbers.join(",")}]`);
    expect(tree.kind === "array" && tree.items.map((item) => item.kind === "number" && item.text)).toEqual(numbers);
  });

  it("keeps the order of keys, repeated ones, and __proto__", () => {
    const tree = treeOf('{"2":1,"1":2,"__proto__":{"a":1},"2":3}');
    expect(tree.kind === "object" && tree.members.map((member) => member.key)).toEqual(["2", "1", "__proto__", "2"]);
  });

  it("cuts out what lies at a path, as it is written", () => {
    const text = '{"id":"x","payload":{"n": 12.50},"error":{"details":{"a":1.0}},"result":null}';
    expect(textAt(text, [["payload"], ["error", "details"], ["result"], ["nothing"]])).toEqual(['{"n": 12.50}', '{"a":1.0}', "null", undefined]);
  });

  it("cuts out the items of a page, each as it is written", () => {
    expect(itemsOf('{"next":"n","items":[{"a":[1.0,{"items":[2]}]}, [3] ,4E1,"x]",null],"more":{"items":[5]},"other":[6]}', "items")).toEqual([
      '{"a":[1.0,{"items":[2]}]}', "[3]", "4E1", '"x]"', "null",
    ]);
    expect([itemsOf('{"items":[]}', "items"), itemsOf('{"items":null,"a":[1]}', "items")]).toEqual([[], []]);
  });

  it("indents without touching a number", () => {
    expect(indented('{"a":12.50,"b":[1E400]}')).toBe('{\n  "a": 12.50,\n  "b": [\n    1E400\n  ]\n}');
  });

  it("finds a fault with its line and column", () => {
    expect(faultOf('{"a": 1}')).toBeNull();
    expect(faultOf('{\n  "a": 1,\n}')).toMatchObject({ line: 3 });
    expect(faultOf('{"a": NaN}')).toMatchObject({ line: 1, column: 7 });
    expect(faultOf('{"a": 1 // no\n}')).not.toBeNull();
    expect(faultOf("")).not.toBeNull();
    expect(faultOf("{} {}")).not.toBeNull();
  });

  it("shows what cannot be seen, and leaves scripts and emoji alone", () => {
    expect(shown("a\u202eb\u0000\n\"\\")).toBe('a\\u202eb\\u0000\\n\\"\\\\');
    expect(shown("שלום مرحبا 👩‍💻 \ud800")).toBe("שלום مرحبا 👩‍💻 \\ud800");
  });
});
