/**
 * Who is signed in, in this tab: a key (kept in sessionStorage, so it ends with the tab) or a person's session, whose
 * cookie no script can read and of which only the CSRF token is held here, in memory.
 */
import { useSyncExternalStore } from "react";

export type Credential = { kind: "key"; key: string } | { kind: "session"; csrf: string };

/** Why somebody who was signed in is not any more, in words for the sign-in page. */
export type Ended = { detail: string } | null;

const SLOT = "waypost.key";
const listeners = new Set<() => void>();

let credential: Credential | null = kept();
let ended: Ended = null;

function kept(): Credential | null {
  const key = sessionStorage.getItem(SLOT);
  return key === null ? null : { kind: "key", key };
}

function tell(): void {
  for (const listener of listeners) listener();
}

export function current(): Credential | null {
  return credential;
}

export function whyEnded(): Ended {
  return ended;
}

export function use(next: Credential): void {
  credential = next;
  ended = null;
  if (next.kind === "key") sessionStorage.setItem(SLOT, next.key);
  else sessionStorage.removeItem(SLOT);
  tell();
}

/** Forget the credential; `reason` is shown where one signs in. */
export function forget(reason: Ended = null): void {
  credential = null;
  ended = reason;
  sessionStorage.removeItem(SLOT);
  tell();
}

export function useCredential(): Credential | null {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, current);
}
