import { expect, it } from "vitest";
import { artifactsIn } from "./reference";

const [A, B] = ["01a1ff2b-029a-74f6-89be-af52d8aa6d64", "01a1ff2b-029a-74f6-89be-af52d8aa6d65"];

it("finds references wherever they stand, each once", () => {
  expect(artifactsIn(`{"$artifact":"${A}"}`)).toEqual([A]);
  expect(artifactsIn(`{"of":[{"$artifact":"${B}"},{"deep":{"$artifact":"${A}"}},{"$artifact":"${B}"}]}`)).toEqual([B, A]);
  expect(artifactsIn(`[{"$artifact":"${A}"},{"$artifact":"${B}"}]`, 1)).toEqual([A]);
});

it("takes nothing else for one", () => {
  for (const text of [undefined, "null", `"$artifact"`, `{"$artifact":1}`, `{"$artifact":"../x"}`, `{"$artifact":"${A}","b":1}`]) expect(artifactsIn(text)).toEqual([]);
});
