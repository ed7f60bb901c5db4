/** What a page is made of: panels, and the words for "nothing here", "not for you" and "it failed". */
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import type { Problem } from "../api/problem";
import { Button } from "./control";

export function Panel({ title, actions, children, id }: { title: string; actions?: ReactNode; children: ReactNode; id?: string }) {
  return (
    <section className="panel" aria-labelledby={id ?? idOf(title)}>
      <header>
        <h2 id={id ?? idOf(title)}>{title}</h2>
        <div className="buttons">{actions}</div>
      </header>
      {children}
    </section>
  );
}

function idOf(title: string): string {
  return `panel-${title.toLowerCase().replaceAll(/\W+/g, "-")}`;
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p>
        <strong>{title}</strong>
      </p>
      {children}
    </div>
  );
}

const TITLES: Record<number, string> = {
  0: "Waypost does not answer",
  403: "Not allowed",
  404: "Not found",
};

/** A page or a part of one that could not be read. */
export function Failed({ problem, retry }: { problem: Problem; retry?: (() => void) | undefined }) {
  return (
    <div className="empty failed" role="alert">
      <p>
        <strong>{TITLES[problem.status] ?? "This could not be read"}</strong>
      </p>
      <p>{problem.message}</p>
      {problem.permission && (
        <p>
          It needs the permission <code>{problem.permission}</code>; whoever administers the organization can give a role that has it.
        </p>
      )}
      {problem.requestId && (
        <p className="hint">
          Request <code>{problem.requestId}</code>
        </p>
      )}
      {retry && problem.status !== 403 && <Button onPress={retry}>Try again</Button>}
    </div>
  );
}

/** Shows what a query has; while it has nothing, that it loads or why it failed. */
export function Loaded<T>({ query, children }: { query: UseQueryResult<T, Problem>; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) return children(query.data);
  if (query.error) return <Failed problem={query.error} retry={() => void query.refetch()} />;
  return <Loading />;
}

export function Loading() {
  return (
    <p className="loading" role="status">
      Loading…
    </p>
  );
}

/** Names and values, one a line. */
export function Facts({ children }: { children: ReactNode }) {
  return <dl className="facts">{children}</dl>;
}

export function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
