/** Artifacts that a payload or a result refers to: `{"$artifact": "<id>"}`, wherever it stands. */
import { treeOf, type Tree } from "./tree";

const FIELD = "$artifact";
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Their ids, each once, in the order of the text; at most `most`. */
export function artifactsIn(text: string | undefined, most = 50): string[] {
  const found = new Set<string>();
  if (text?.includes(FIELD)) gather(treeOf(text), found, most);
  return [...found];
}

function gather(tree: Tree, found: Set<string>, most: number): void {
  if (found.size >= most) return;
  if (tree.kind === "array") for (const item of tree.items) gather(item, found, most);
  if (tree.kind !== "object") return;
  const [only] = tree.members;
  if (tree.members.length === 1 && only?.key === FIELD && only.value.kind === "string" && ID.test(only.value.value)) found.add(only.value.value);
  else for (const member of tree.members) gather(member.value, found, most);
}
