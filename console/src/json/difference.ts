/** Where two JSON texts differ, as they are written: `12.50` and `12.5` are two. */
import { treeOf, type Tree } from "./tree";

export type Difference = { path: string; before: string | null; after: string | null };

/** By JSON Pointer, in the order of the first; null is what is not there. At most `most` of them. */
export function differences(before: string, after: string, most = 500): Difference[] {
  const [one, other] = [leaves(before), leaves(after)];
  const found: Difference[] = [];
  for (const path of new Set([...one.keys(), ...other.keys()])) {
    const [was, is] = [one.get(path) ?? null, other.get(path) ?? null];
    if (was !== is) found.push({ path: path || "/", before: was, after: is });
    if (found.length >= most) break;
  }
  return found;
}

function leaves(text: string): Map<string, string> {
  const found = new Map<string, string>();
  walk(treeOf(text), "", found);
  return found;
}

function walk(tree: Tree, path: string, found: Map<string, string>): void {
  switch (tree.kind) {
    case "object":
      if (tree.members.length === 0) found.set(path, "{}");
      for (const member of tree.members) walk(member.value, `${path}/${member.key.replaceAll("~", "~0").replaceAll("/", "~1")}`, found);
      return;
    case "array":
      if (tree.items.length === 0) found.set(path, "[]");
      tree.items.forEach((item, index) => walk(item, `${path}/${index}`, found));
      return;
    case "string":
      found.set(path, JSON.stringify(tree.value));
      return;
    default:
      found.set(path, tree.text);
  }
}
