/** Work that takes many requests: tried again while the gateway is away, a few requests at a time, stopped by a signal. */
import { Problem } from "./problem";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 16_000;

/** What `work` answers. A problem that may pass is waited out for half a minute; any other one is thrown. */
export async function persistently<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let pause = FIRST_PAUSE_MS; ; pause *= 2) {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted || !(error instanceof Problem && error.retryable) || pause > LONGEST_PAUSE_MS) throw error;
      await sleep(pause, signal);
    }
  }
}

/** Does `work` with every item, `width` at a time, in their order; ends early when the signal aborts or one of them throws. */
export async function each<T>(items: readonly T[], width: number, signal: AbortSignal, work: (item: T, index: number) => Promise<void>): Promise<void> {
  let next = 0;
  let failed = false;
  const lane = async () => {
    while (next < items.length && !failed && !signal.aborted) {
      const index = next++;
      try {
        await work(items[index] as T, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
}

/** Waits, or less when the signal aborts. */
export function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
