/** Times, durations, states and numbers as this console writes them. */
import { Fragment, useEffect, useState, type ReactNode } from "react";

/** The state of the world that every ageing text on the page shares: one timer for all. */
const ticks = new Set<() => void>();
setInterval(() => ticks.forEach((tick) => tick()), 1000);

export function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const tick = () => setNow(Date.now());
    ticks.add(tick);
    return () => void ticks.delete(tick);
  }, []);
  return now;
}

const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** An instant in the local zone, with UTC on hover and for those who listen. */
export function Time({ at, short }: { at: string; short?: boolean }) {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  return (
    <time dateTime={at} title={`${at.replace("T", " ").replace("Z", "")} UTC`}>
      {short && isToday ? CLOCK.format(date) : LOCAL.format(date)}
    </time>
  );
}

/** How long ago, kept current; `since` leaves the word "ago" out. */
export function Ago({ at, since }: { at: string; since?: boolean }) {
  const now = useNow();
  const age = Math.max(0, now - Date.parse(at));
  return (
    <time dateTime={at} title={`${at.replace("T", " ").replace("Z", "")} UTC`}>
      {age < 60_000 ? `${Math.floor(age / 1000)} s` : duration(age).split(" ").slice(0, 2).join(" ")}
      {!since && " ago"}
    </time>
  );
}

/** Milliseconds as people say them: two parts at most. */
export function duration(milliseconds: number): string {
  if (milliseconds < 1) return "0 ms";
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  const rest = Math.floor(seconds % 60);
  if (minutes < 60) return rest === 0 ? `${minutes} min` : `${minutes} min ${rest} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const COUNT = new Intl.NumberFormat();

export function count(number: number): string {
  return COUNT.format(number);
}

const COMPACT = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/** In as few characters as an axis has room for: 12K. */
export function compact(number: number): string {
  return COMPACT.format(number);
}

/** So many bytes, in the unit that people would say. */
export function bytes(number: number): string {
  if (number < 1024) return plural(number, "byte");
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let rest = number / 1024;
  for (; rest >= 1024 && at < units.length - 1; at += 1) rest /= 1024;
  return `${rest.toFixed(rest < 100 ? 1 : 0)} ${units[at]}`;
}

/** A name that breaks after its dots and underscores, where it has to break. */
export function Breakable({ text }: { text: string }) {
  return text.split(/(?<=[._])/).map((part, index) => (
    <Fragment key={index}>
      {part}
      <wbr />
    </Fragment>
  ));
}

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}

const TONES: Record<string, string> = {
  completed: "good",
  ready: "good",
  active: "good",
  delivered: "good",
  done: "good",
  deleting: "busy",
  suspended: "warn",
  ingested: "good",
  received: "busy",
  uploading: "busy",
  rejected: "bad",
  pending: "busy",
  running: "busy",
  queued: "wait",
  retrying: "warn",
  draining: "warn",
  paused: "warn",
  provisioning: "busy",
  failed: "bad",
  dead_letter: "bad",
  lost: "bad",
  timed_out: "bad",
  canceled: "off",
  expired: "off",
};

/** A state in words, with a mark besides the colour. */
export function State({ state }: { state: string }) {
  return <span className={`state ${TONES[state] ?? "off"}`}>{state.replace("_", " ")}</span>;
}

/** Text of others: isolated, so that its direction does not turn what stands around it. */
export function Foreign({ children }: { children: ReactNode }) {
  return <bdi className="foreign">{children}</bdi>;
}

const ID = /[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Of an id its last characters, which tell apart best; the whole of it on hover, and in an export. */
export function Short({ text }: { text: string }) {
  const isLong = ID.test(text);
  return (
    <bdi className="foreign" title={isLong ? text : undefined}>
      {isLong ? text.replace(ID, (id) => `…${id.slice(-12)}`) : text}
    </bdi>
  );
}

/** Puts text on the clipboard and says that it did. */
export function Copy({ text, label = "Copy", look = "quiet" }: { text: string | (() => string); label?: string; look?: "quiet" | "plain" }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    const timer = done ? setTimeout(() => setDone(false), 1500) : undefined;
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <button
      type="button"
      className={`button ${look}`}
      onClick={() => void copy(typeof text === "string" ? text : text()).then(() => setDone(true))}
    >
      <span aria-live="polite">{done ? "Copied" : label}</span>
    </button>
  );
}

async function copy(text: string): Promise<void> {
  if (window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // http:// by name: there is no clipboard API
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
