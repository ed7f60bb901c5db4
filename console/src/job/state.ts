/** The states of a job, in the order of its life. */
export const STATES = ["queued", "running", "retrying", "completed", "failed", "dead_letter", "canceled", "expired"] as const;

const ENDS = new Set<string>(["completed", "failed", "dead_letter", "canceled", "expired"]);

export function isEnd(state: string): boolean {
  return ENDS.has(state);
}
