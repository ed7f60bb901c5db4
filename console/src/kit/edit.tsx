/** Changing what is there: from what it is now, and only if nobody else changed it meanwhile (If-Match). */
import { useQuery, useQueryClient, type QueryKey } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import type { Problem } from "../api/problem";
import { Button, Dialog } from "./control";
import { Loaded } from "./panel";

export type Tagged<T> = { value: T; etag: string };

/** A body with the tag of its answer. */
export function tagged<T>(answer: { data?: T | undefined; response: Response }): Tagged<T> {
  return { value: answer.data as T, etag: answer.response.headers.get("etag") ?? "*" };
}

type Props<T> = {
  title: string;
  queryKey: QueryKey;
  isDisabled: boolean;
  read: () => Promise<Tagged<T>>;
  /** A form; `again` begins anew from what it is now. */
  children: (found: Tagged<T>, close: () => void, again: () => void) => ReactNode;
};

export function Edit<T>({ title, queryKey, isDisabled, read, children }: Props<T>) {
  const [isOpen, setOpen] = useState(false);
  const close = () => setOpen(false);
  return (
    <>
      <Button isDisabled={isDisabled} onPress={() => setOpen(true)}>
        Edit…
      </Button>
      <Dialog title={title} isOpen={isOpen} onClose={close} wide>
        <Current queryKey={queryKey} read={read}>
          {(found, again) => children(found, close, again)}
        </Current>
      </Dialog>
    </>
  );
}

type CurrentProps<T> = { queryKey: QueryKey; read: () => Promise<Tagged<T>>; children: (found: Tagged<T>, again: () => void) => ReactNode };

/** Read once when it is opened: what somebody writes is not written over. */
function Current<T>({ queryKey, read, children }: CurrentProps<T>) {
  const client = useQueryClient();
  const key = ["edit", ...queryKey];
  const query = useQuery<Tagged<T>, Problem>({ queryKey: key, queryFn: read, staleTime: Infinity, gcTime: 0, refetchOnWindowFocus: false, refetchOnReconnect: false });
  return <Loaded query={query}>{(found) => <div key={found.etag}>{children(found, () => void client.resetQueries({ queryKey: key }))}</div>}</Loaded>;
}

/** Above a form that was refused because somebody else was quicker. */
export function Outrun({ problem, again }: { problem: Problem | null; again: () => void }) {
  if (problem?.status !== 412) return null;
  return (
    <p className="note">
      Somebody changed it after this form was opened. <Button onPress={again}>Begin from what it is now</Button>
    </p>
  );
}
