import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { each, persistently } from "./again";
import { away, Problem } from "./problem";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("work that takes many requests", () => {
  it("waits for a gateway that is away, and not for ever", async () => {
    const work = vi.fn().mockRejectedValueOnce(away()).mockRejectedValueOnce(away()).mockResolvedValue("there");
    const done = persistently(work, new AbortController().signal);
    await vi.advanceTimersByTimeAsync(1_500);
    expect(await done).toBe("there");
    const never = persistently(() => Promise.reject(away()), new AbortController().signal);
    const refused = expect(never).rejects.toThrow("does not answer");
    await vi.advanceTimersByTimeAsync(60_000);
    await refused;
  });

  it("takes a refusal for final, and stops waiting when it is told to", async () => {
    const refusal = new Problem(403, "permission_denied", "No.", false, null);
    await expect(persistently(() => Promise.reject(refusal), new AbortController().signal)).rejects.toBe(refusal);
    const stop = new AbortController();
    const stopped = expect(persistently(() => Promise.reject(away()), stop.signal)).rejects.toThrow();
    await vi.advanceTimersByTimeAsync(100);
    stop.abort();
    await stopped;
  });

  it("has so many at once and no more, begins none after the first that failed, and none after a stop", async () => {
    let [now, most] = [0, 0];
    const seen: number[] = [];
    const work = async (item: number) => {
      seen.push(item);
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 10));
      now -= 1;
      if (item === 5) throw new Error("five");
    };
    const items = Array.from({ length: 20 }, (_, index) => index);
    const failed = expect(each(items, 3, new AbortController().signal, work)).rejects.toThrow("five");
    await vi.advanceTimersByTimeAsync(1_000);
    await failed;
    expect([most, seen.length < 10]).toEqual([3, true]);
    const stop = new AbortController();
    seen.length = 0;
    const rest = each(items.slice(10), 3, stop.signal, work);
    stop.abort();
    await vi.advanceTimersByTimeAsync(1_000);
    await rest;
    expect(seen).toEqual([10, 11, 12]);
  });
});
