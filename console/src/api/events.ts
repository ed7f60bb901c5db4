/** Server-Sent Events of the API, read with `fetch` because EventSource can send no key. Reconnects, and resumes. */
import { createParser } from "eventsource-parser";
import { sleep } from "./again";
import { refusal, send } from "./client";
import { Problem } from "./problem";

export type StateEvent = { job_id: string; state: string; attempt: number; at: string };
export type ProgressEvent = { job_id: string; fraction: number; message: string };

export type Handlers = {
  state?: (event: StateEvent) => void;
  progress?: (event: ProgressEvent) => void;
  /** It is followed from now on. What happened before that, since the page was read or besides states, is to be read again. */
  following?: () => void;
};

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

/**
 * Follow a stream until what is returned is called. A tab that nobody sees lets go of it and resumes when it is seen: a
 * browser has six connections to a host, for all its tabs together.
 */
export function follow(path: string, handlers: Handlers): () => void {
  const abort = new AbortController();
  void run(path, handlers, abort.signal);
  return () => abort.abort();
}

/** A controller that aborts when the tab is hidden, or with `signal`. */
function whileSeen(signal: AbortSignal): AbortController {
  const one = new AbortController();
  const options = { signal: one.signal };
  document.addEventListener("visibilitychange", () => document.hidden && one.abort(), options);
  signal.addEventListener("abort", () => one.abort(), options);
  return one;
}

function seen(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}

async function run(path: string, handlers: Handlers, signal: AbortSignal): Promise<void> {
  let last: string | null = null;
  let pause = FIRST_PAUSE_MS;
  const parser = createParser({
    onEvent(event) {
      if (event.id !== undefined) last = event.id;
      const data: unknown = JSON.parse(event.data);
      if (event.event === "job.state") handlers.state?.(data as StateEvent);
      if (event.event === "job.progress") handlers.progress?.(data as ProgressEvent);
    },
  });
  while (!signal.aborted) {
    await seen(signal);
    if (signal.aborted) return;
    const attempt = whileSeen(signal);
    try {
      const headers: Record<string, string> = last === null ? {} : { "last-event-id": last };
      const response = await send(new Request(new URL(path, location.origin), { headers, signal: attempt.signal }));
      if (!response.ok) throw await refusal(response);
      handlers.following?.();
      pause = FIRST_PAUSE_MS;
      parser.reset();
      await pump(response, (text) => parser.feed(text));
    } catch (error) {
      if (signal.aborted || (error instanceof Problem && error.status >= 400 && !error.retryable)) return;
    } finally {
      attempt.abort(); // lets go of its listeners, too
    }
    if (document.hidden) continue;
    await sleep(pause, signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}

async function pump(response: Response, feed: (text: string) => void): Promise<void> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const piece = await reader?.read();
    if (piece === undefined || piece.done) return;
    feed(piece.value);
  }
}
