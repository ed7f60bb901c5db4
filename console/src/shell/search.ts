/** Addresses keep filters as people write them: `?state=failed&state=expired`, a list by repeating its name. */
export type Query = Record<string, string | string[] | undefined>;

export function readSearch(text: string): Query {
  const found: Query = {};
  for (const [name, value] of new URLSearchParams(text)) {
    const before = found[name];
    found[name] = before === undefined ? value : [before, value].flat();
  }
  return found;
}

export function writeSearch(query: Record<string, unknown>): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (typeof one === "string" && one !== "") parameters.append(name, one);
  }
  const text = parameters.toString();
  return text && `?${text}`;
}

export function listOf(value: unknown): string[] {
  return [value].flat().filter((one): one is string => typeof one === "string" && one !== "");
}

export function textOf(value: unknown): string | undefined {
  return listOf(value)[0];
}
