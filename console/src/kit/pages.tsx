/** Lists that come page by page: newest first, more when they are asked for. */
import { useInfiniteQuery, type InfiniteData, type QueryKey } from "@tanstack/react-query";
import type { ReactNode } from "react";
import type { Problem } from "../api/problem";
import { Button } from "./control";
import { Failed, Loading } from "./panel";

export type Page<T> = { items: T[]; next_cursor: string | null };

type Props<T> = {
  queryKey: QueryKey;
  read: (cursor: string | undefined) => Promise<Page<T>>;
  refetchMs?: number;
  empty: ReactNode;
  children: (items: T[]) => ReactNode;
};

export function Pages<T>({ queryKey, read, refetchMs, empty, children }: Props<T>) {
  const query = useInfiniteQuery<Page<T>, Problem, InfiniteData<Page<T>>, QueryKey, string | undefined>({
    queryKey,
    queryFn: ({ pageParam }) => read(pageParam),
    initialPageParam: undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    ...(refetchMs ? { refetchInterval: refetchMs } : {}),
  });
  if (query.data === undefined) return query.error ? <Failed problem={query.error} retry={() => void query.refetch()} /> : <Loading />;
  const items = query.data.pages.flatMap((page) => page.items);
  if (items.length === 0) return empty;
  return (
    <>
      {children(items)}
      {query.hasNextPage && (
        <div className="buttons more">
          <Button onPress={() => void query.fetchNextPage()}>{query.isFetchingNextPage ? "Loading…" : "Show more"}</Button>
        </div>
      )}
    </>
  );
}

/** A column's name; of one with numbers, which stand to the right. */
export type Head = string | { number: string };
type SheetProps = { label: string; heads: readonly Head[]; children: ReactNode };

/** A table that scrolls sideways by itself where the screen is narrow. */
export function Sheet({ label, heads, children }: SheetProps) {
  return (
    <div className="sheet bare-sheet" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {heads.map((head) =>
              typeof head === "string" ? (
                <th scope="col" key={head}>
                  {head}
                </th>
              ) : (
                <th scope="col" key={head.number} className="number">
                  {head.number}
                </th>
              ),
            )}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
