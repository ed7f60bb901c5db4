/** Work of many steps that somebody watches: how far it is, a button that stops it, and how it ended. */
import { useEffect, useRef, useState, type ReactNode } from "react";
import { Problem } from "../api/problem";
import { Button } from "./control";

export type Pass<T> = {
  /** What was told last. */
  told: T;
  state: "ready" | "running" | "stopped" | "done" | "failed";
  problem: Problem | null;
  start: () => void;
  stop: () => void;
};

/** `work` tells how far it is and ends early when its signal aborts: when it is stopped, or what shows it goes away. */
export function usePass<T>(first: T, work: (tell: (told: T) => void, signal: AbortSignal) => Promise<void>): Pass<T> {
  const [told, tell] = useState(first);
  const [end, setEnd] = useState<Pick<Pass<T>, "state" | "problem">>({ state: "ready", problem: null });
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);
  const start = () => {
    const own = new AbortController();
    running.current = own;
    const ended = (state: Pass<T>["state"], problem: Problem | null) => running.current === own && setEnd({ state, problem });
    tell(first);
    setEnd({ state: "running", problem: null });
    work((one) => running.current === own && tell(one), own.signal).then(
      () => ended(own.signal.aborted ? "stopped" : "done", null),
      (error: unknown) => (own.signal.aborted ? ended("stopped", null) : ended("failed", problemOf(error))),
    );
  };
  return { told, ...end, start, stop: () => running.current?.abort() };
}

function problemOf(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(500, "unexpected", `The console failed: ${String(error)}`, false, null);
}

/** How far it is, in words and as a bar; without `most` nobody knows how much there is. */
export function Progress({ done, most, stop, children }: { done: number; most?: number; stop: () => void; children: ReactNode }) {
  return (
    <>
      <progress className="pass" aria-label="Progress" {...(most === undefined ? {} : { value: done, max: most })} />
      <div className="buttons">
        <p role="status">{children}</p>
        <span className="spacer" />
        <Button onPress={stop}>Stop</Button>
      </div>
    </>
  );
}
