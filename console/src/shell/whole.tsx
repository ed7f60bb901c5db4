/** A page comes as a whole: it is shown when its first answers are there, so that nothing moves that one has begun to read. */
import { useIsFetching, useQueryClient, type QueryFilters } from "@tanstack/react-query";
import { useMatches } from "@tanstack/react-router";
import { useEffect, useState, type ReactNode } from "react";
import { Loading } from "../kit/panel";

const PATIENCE_MS = 1_500; // then what there is
const QUIET_MS = 25; // an answer may lead to the next question
const FIRST: QueryFilters = { predicate: ({ state }) => state.status === "pending" };

export function Whole({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const page = useMatches({ select: (matches) => pageOf(matches.at(-1)?.pathname ?? "") });
  const [shown, show] = useState("");
  useIsFetching(FIRST); // looks again when that changes
  const isThere = shown === page;
  useEffect(() => {
    if (isThere) return undefined;
    const timer = setTimeout(() => client.isFetching(FIRST) === 0 && show(page), QUIET_MS);
    return () => clearTimeout(timer);
  });
  useEffect(() => {
    const timer = setTimeout(() => show(page), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [page]);
  return (
    <div className="whole">
      {!isThere && <Loading />}
      <div className={isThere ? undefined : "coming"}>{children}</div>
    </div>
  );
}

/** Tabs of settings and of an organization are one page: who goes from tab to tab keeps the keyboard's focus. */
export function pageOf(pathname: string): string {
  return pathname.replace(/^(\/e(?:\/[^/]+){3}\/settings|\/orgs\/[^/]+)\/[^/]+\/?$/, "$1");
}
