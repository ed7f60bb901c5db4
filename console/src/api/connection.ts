/** Whether the last request was answered: what the banner at the top of every page says. */
import { useSyncExternalStore } from "react";

const listeners = new Set<() => void>();
let answers = true;

export function note(answered: boolean): void {
  if (answers === answered) return;
  answers = answered;
  for (const listener of listeners) listener();
}

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function isConnected(): boolean {
  return answers;
}

export function useConnected(): boolean {
  return useSyncExternalStore(subscribe, isConnected);
}
