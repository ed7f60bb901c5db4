/** Server-Sent Events of the API, read with `fetch` because EventSource can send no key. Reconnects, and resumes. */
import { createParser } from "eventsource-parser";
import { refusal, send } from "./client";
import { Problem } from "./problem";

export type StateEvent = { job_id: string; state: string; attempt: number; at: string };
export type ProgressEvent = { job_id: string; fraction: number; message: string };
export type LogEvent = { job_id: string; at: string; attempt: number; level: string; message: string };

export type Handlers = {
  state?: (event: StateEvent) => void;
  progress?: (event: ProgressEvent) => void;
  log?: (event: LogEvent) => void;
  /** A new connection after one that broke: what was missed besides states is to be read again. */
  again?: () => void;
};

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

/** Follow a stream until `stop` is called. One that ends by itself is not asked again when `finite`. */
export function follow(path: string, handlers: Handlers, { finite = false } = {}): () => void {
  const abort = new AbortController();
  void run(path, handlers, finite, abort.signal);
  return () => abort.abort();
}

async function run(path: string, handlers: Handlers, finite: boolean, signal: AbortSignal): Promise<void> {
  let last: string | null = null;
  let pause = FIRST_PAUSE_MS;
  let connected = false;
  const parser = createParser({
    onEvent(event) {
      if (event.id !== undefined) last = event.id;
      const data: unknown = JSON.parse(event.data);
      if (event.event === "job.state") handlers.state?.(data as StateEvent);
      if (event.event === "job.progress") handlers.progress?.(data as ProgressEvent);
      if (event.event === "job.log") handlers.log?.(data as LogEvent);
    },
  });
  while (!signal.aborted) {
    try {
      const headers: Record<string, string> = last === null ? {} : { "last-event-id": last };
      const response = await send(new Request(new URL(path, location.origin), { headers, signal }));
      if (!response.ok) throw await refusal(response);
      if (connected) handlers.again?.();
      connected = true;
      pause = FIRST_PAUSE_MS;
      parser.reset();
      await pump(response, (text) => parser.feed(text));
      if (finite) return;
    } catch (error) {
      if (signal.aborted || (error instanceof Problem && error.status >= 400 && error.status < 500)) return;
    }
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

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
