import { expect, it } from "vitest";
import { differences } from "./difference";

it("tells what changed, went and came, digit by digit", () => {
  const before = '{"a":12.50,"b":[1,2],"c":"x","d/e":null,"same":1234567890123456789012}';
  const after = '{"a":12.5,"b":[1],"c":"x","f":{},"same":1234567890123456789012}';
  expect(differences(before, after)).toEqual([
    { path: "/a", before: "12.50", after: "12.5" },
    { path: "/b/1", before: "2", after: null },
    { path: "/d~1e", before: "null", after: null },
    { path: "/f", before: null, after: "{}" },
  ]);
});

it("finds none between equal texts with keys in another order", () => {
  expect(differences('{"a":1,"b":2}', '{"b": 2, "a": 1}')).toEqual([]);
  expect(differences("1", '"1"')).toEqual([{ path: "/", before: "1", after: '"1"' }]);
});
