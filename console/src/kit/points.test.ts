import { expect, test } from "vitest";
import { alone } from "./points";

test("a value without a neighbour is drawn as a point, the others are a line", () => {
  expect(alone([null, 5, null, 1, 2, undefined, 0])).toEqual([1, 6]);
  expect(alone([7])).toEqual([0]);
  expect(alone([])).toEqual([]);
});
