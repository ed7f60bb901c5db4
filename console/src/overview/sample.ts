/** What the queue's counts were while this tab is open: the API tells sums, so rates are told from two looks at them. */
import type { Queue } from "../function/model";

export type Sample = { at: number; ended: number; failed: number; waiting: number; running: number };
export type Rates = { at: number[]; ended: number[]; failed: number[]; waiting: number[] };

const KEPT_MS = 60 * 60_000;
const kept = new Map<string, Sample[]>();

/** Add a look to those of an environment; an answer that is the same as the last one is none. */
export function note(key: string, queue: Queue, at: number): readonly Sample[] {
  const { states } = queue;
  const samples = kept.get(key) ?? [];
  if (samples.at(-1)?.at === at) return samples;
  const sample = { at, ended: states.completed + states.failed, failed: states.failed, waiting: states.waiting, running: states.running };
  const next = [...samples.filter((one) => at - one.at <= KEPT_MS), sample];
  kept.set(key, next);
  return next;
}

/** Ends a second between each two looks; counts never fall, so neither is a rate below nothing. */
export function ratesOf(samples: readonly Sample[]): Rates {
  const rates: Rates = { at: [], ended: [], failed: [], waiting: [] };
  for (let index = 1; index < samples.length; index += 1) {
    const [before, now] = [samples[index - 1]!, samples[index]!];
    const seconds = (now.at - before.at) / 1000;
    if (seconds <= 0) continue;
    rates.at.push(now.at / 1000);
    rates.ended.push(Math.max(0, now.ended - before.ended) / seconds);
    rates.failed.push(Math.max(0, now.failed - before.failed) / seconds);
    rates.waiting.push(now.waiting);
  }
  return rates;
}
