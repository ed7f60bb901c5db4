/**
 * JSON as it is written. A payload is never turned into JavaScript's values: its numbers would lose digits, its keys
 * their order, and `__proto__` its meaning. Here it stays text with a tree of positions over it.
 */
import { findNodeAtLocation, format, applyEdits, parseTree, printParseErrorCode, visit, type Node, type ParseError } from "jsonc-parser";

export type Tree =
  | { kind: "object"; members: { key: string; value: Tree }[] }
  | { kind: "array"; items: Tree[] }
  | { kind: "string"; value: string }
  | { kind: "number" | "boolean" | "null"; text: string };

export type Fault = { message: string; line: number; column: number };

const STRICT = { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false };

/** The tree of a JSON text that is known to be well formed. */
export function treeOf(text: string): Tree {
  const root = parseTree(text, [], STRICT);
  if (root === undefined) throw new SyntaxError("no JSON");
  return grow(root, text);
}

function grow(node: Node, text: string): Tree {
  switch (node.type) {
    case "object": {
      const members = (node.children ?? []).flatMap((property) => {
        const [key, value] = property.children ?? [];
        return key && value ? [{ key: key.value as string, value: grow(value, text) }] : [];
      });
      return { kind: "object", members };
    }
    case "array":
      return { kind: "array", items: (node.children ?? []).map((child) => grow(child, text)) };
    case "string":
      return { kind: "string", value: node.value as string };
    default:
      return { kind: node.type as "number" | "boolean" | "null", text: text.slice(node.offset, node.offset + node.length) };
  }
}

/** A tree as JSON again, without blanks; numbers as they were written. */
export function written(tree: Tree): string {
  switch (tree.kind) {
    case "object":
      return `{${tree.members.map((member) => `${JSON.stringify(member.key)}:${written(member.value)}`).join(",")}}`;
    case "array":
      return `[${tree.items.map(written).join(",")}]`;
    case "string":
      return JSON.stringify(tree.value);
    default:
      return tree.text;
  }
}

/** The text of what lies at these paths, as it is written; undefined where nothing is. */
export function textAt(text: string, paths: readonly string[][]): (string | undefined)[] {
  const root = parseTree(text, [], STRICT);
  return paths.map((path) => {
    const node = root && findNodeAtLocation(root, path);
    return node && text.slice(node.offset, node.offset + node.length);
  });
}

/** The texts of the items of the array that is the member `name` of an object, as they are written; none where there is none. */
export function itemsOf(text: string, name: string): string[] {
  const items: string[] = [];
  let [depth, begin, inside, key] = [0, 0, false, ""];
  const opens = (offset: number) => {
    if (inside && depth === 2) begin = offset;
    depth += 1;
  };
  const closes = (offset: number, length: number) => {
    depth -= 1;
    if (inside && depth === 2) items.push(text.slice(begin, offset + length));
    if (depth === 1) inside = false;
  };
  visit(text, {
    onObjectProperty: (property) => void (depth === 1 && (key = property)),
    onObjectBegin: opens,
    onArrayBegin: (offset) => {
      if (depth === 1 && key === name) inside = true;
      opens(offset);
    },
    onObjectEnd: closes,
    onArrayEnd: closes,
    onLiteralValue: (_, offset, length) => void (inside && depth === 2 && items.push(text.slice(offset, offset + length))),
  });
  return items;
}

/** What is wrong with a text that should be JSON, or null. */
export function faultOf(text: string): Fault | null {
  const errors: ParseError[] = [];
  parseTree(text, errors, STRICT);
  const [first] = errors;
  if (first === undefined) return null;
  const before = text.slice(0, first.offset);
  const line = before.split("\n").length;
  return { message: WORDS[printParseErrorCode(first.error)] ?? "This is not JSON", line, column: first.offset - before.lastIndexOf("\n") };
}

const WORDS: Record<string, string> = {
  InvalidSymbol: "This is no JSON value",
  InvalidNumberFormat: "This is no JSON number",
  PropertyNameExpected: "A name in double quotes is expected",
  ValueExpected: "A value is expected",
  ColonExpected: "A colon is expected",
  CommaExpected: "A comma is expected",
  CloseBraceExpected: "A closing } is expected",
  CloseBracketExpected: "A closing ] is expected",
  EndOfFileExpected: "Nothing may follow here",
  InvalidCommentToken: "JSON has no comments",
  UnexpectedEndOfString: "The text has no closing quote",
  UnexpectedEndOfNumber: "The number is not complete",
  InvalidUnicode: "This is no \\u escape",
  InvalidEscapeCharacter: "There is no such escape",
  InvalidCharacter: "A control character must be escaped",
};

/** Indented for reading and editing; every number, key and string stays as it is written. */
export function indented(text: string): string {
  return applyEdits(text, format(text, undefined, { insertSpaces: true, tabSize: 2, eol: "\n" }));
}

// Characters that would turn the text around them, or not show at all.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const SHORT: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f" };

/** A string for reading: quotes and backslashes as JSON writes them, nothing invisible. */
export function shown(value: string): string {
  const plain = value.replace(/["\\]/g, "\\$&");
  return plain.replace(HIDDEN, (character) => SHORT[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
