/** What changes while a list of jobs is open: states of its rows in place, and how many newer jobs there are. */
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { environmentPath, raw, type Place } from "../api/client";
import { follow, type StateEvent } from "../api/events";
import type { Problem } from "../api/problem";
import type { Listed, Page } from "./model";

const FLUSH_MS = 250;
const HEAD_EVERY_MS = 2_000;
export const HEAD = 50;

/** The last event of each job that changed since the list was read, gathered so that a busy environment costs little. */
export function useStates(place: Place, onChange: () => void): ReadonlyMap<string, StateEvent> {
  const [states, setStates] = useState<ReadonlyMap<string, StateEvent>>(new Map());
  const changed = useRef(onChange);
  changed.current = onChange;
  const path = `${environmentPath(place)}/events`;
  useEffect(() => {
    let waiting = new Map<string, StateEvent>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const flush = () => {
      timer = undefined;
      const found = waiting;
      waiting = new Map();
      setStates((before) => new Map([...before, ...found]));
      changed.current();
    };
    const stop = follow(path, {
      state(event) {
        waiting.set(event.job_id, event);
        timer ??= setTimeout(flush, FLUSH_MS);
      },
      following: () => changed.current(),
    });
    return () => {
      stop();
      clearTimeout(timer);
      setStates(new Map());
    };
  }, [path]);
  return states;
}

/** The newest jobs of these filters, read again at most every two seconds after `touch` was called. */
export function useHead(place: Place, query: string): { items: Listed[]; touch: () => void } {
  const head = useQuery<Page, Problem>({
    queryKey: ["jobs-head", place, query],
    queryFn: async ({ signal }) => JSON.parse(await raw(`${environmentPath(place)}/jobs?limit=${HEAD}&${query}`, { signal })) as Page,
    enabled: false,
  });
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const refetch = useRef(head.refetch);
  refetch.current = head.refetch;
  useEffect(() => () => clearTimeout(timer.current), []);
  const touch = () => {
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      void refetch.current();
    }, HEAD_EVERY_MS);
  };
  return { items: head.data?.items ?? [], touch };
}
