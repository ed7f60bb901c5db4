/** JSON for reading: a tree that folds, or the text as it is. Always as text, whatever is in it. */
import { useMemo, useState, type ReactNode } from "react";
import { bytes, Copy, count, plural } from "../kit/text";
import { indented, shown, treeOf, type Tree } from "./tree";

const OPEN_DEPTH = 3;
const OPEN_CHILDREN = 30;
const STEP = 100;
const LONG = 400;

export function Json({ text, label }: { text: string; label: string }) {
  const [plain, setPlain] = useState(false);
  const tree = useMemo(() => treeOf(text), [text]);
  return (
    <div className="json">
      <div className="buttons">
        <span className="hint">{bytes(new TextEncoder().encode(text).length)}</span>
        <button type="button" className="button quiet" aria-pressed={plain} onClick={() => setPlain(!plain)}>
          {plain ? "As a tree" : "As text"}
        </button>
        <Copy text={text} />
      </div>
      {plain ? (
        <pre className="code scroll" tabIndex={0} aria-label={`${label} as text`} dir="ltr">
          {indented(text)}
        </pre>
      ) : (
        <div className="tree scroll" role="group" aria-label={label} tabIndex={0} dir="ltr">
          <Value tree={tree} depth={0} />
        </div>
      )}
    </div>
  );
}

function Value({ tree, depth }: { tree: Tree; depth: number }) {
  switch (tree.kind) {
    case "object":
      return (
        <Branch depth={depth} total={tree.members.length} open="{" close="}" noun="key">
          {(from, to) =>
            tree.members.slice(from, to).map((member, index) => (
              <li key={from + index}>
                <bdi className="key">{shown(member.key)}</bdi>
                <span className="mark">: </span>
                <Value tree={member.value} depth={depth + 1} />
              </li>
            ))
          }
        </Branch>
      );
    case "array":
      return (
        <Branch depth={depth} total={tree.items.length} open="[" close="]" noun="item">
          {(from, to) =>
            tree.items.slice(from, to).map((item, index) => (
              <li key={from + index}>
                <span className="index">{from + index}</span>
                <Value tree={item} depth={depth + 1} />
              </li>
            ))
          }
        </Branch>
      );
    case "string":
      return <Text value={tree.value} />;
    default:
      return <span className={`value ${tree.kind}`}>{tree.text}</span>;
  }
}

type BranchProps = { depth: number; total: number; open: string; close: string; noun: string; children: (from: number, to: number) => ReactNode };

function Branch({ depth, total, open, close, noun, children }: BranchProps) {
  const [isOpen, setOpen] = useState(depth < OPEN_DEPTH && total <= OPEN_CHILDREN);
  const [to, setTo] = useState(STEP);
  if (total === 0) return <span className="mark">{open + close}</span>;
  return (
    <>
      <button type="button" className="fold" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <span aria-hidden="true">{isOpen ? "▾" : "▸"}</span> {open}
        {!isOpen && `…${close}`} <span className="hint">{plural(total, noun)}</span>
      </button>
      {isOpen && (
        <>
          <ul>
            {children(0, to)}
            {to < total && (
              <li>
                <button type="button" className="button quiet" onClick={() => setTo(to + STEP * 10)}>
                  {plural(total - to, "more", "more")}
                </button>
              </li>
            )}
          </ul>
          <span className="mark">{close}</span>
        </>
      )}
    </>
  );
}

function Text({ value }: { value: string }) {
  const [whole, setWhole] = useState(false);
  const cut = value.length > LONG && !whole;
  return (
    <span className="value string">
      "<bdi>{shown(cut ? value.slice(0, LONG) : value)}</bdi>
      {cut ? "…" : '"'}
      {cut && (
        <button type="button" className="button quiet" onClick={() => setWhole(true)}>
          Show all {count(value.length)} characters
        </button>
      )}
    </span>
  );
}
