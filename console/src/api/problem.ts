/** What the API says when it refuses (RFC 9457), and what is said when it does not answer at all. */
export type Fault = { path: string; code: string; message: string };

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryable: boolean,
    readonly requestId: string | null,
    readonly faults: Fault[] = [],
    readonly permission: string | null = null,
  ) {
    super(detail);
  }

  /** No answer came: the gateway is away, or there is no network. */
  get away(): boolean {
    return this.status === 0;
  }
}

export function away(): Problem {
  return new Problem(0, "no_answer", "Waypost does not answer. It is asked again until it does.", true, null);
}

/** The problem of an answer that is none of the good ones, whatever its body is. */
export function problemOf(status: number, body: unknown, requestId: string | null): Problem {
  const known = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
  const text = (name: string): string | null => (typeof known[name] === "string" ? known[name] : null);
  const faults = Array.isArray(known["errors"]) ? (known["errors"] as Fault[]) : [];
  return new Problem(
    status,
    text("code") ?? `http_${status}`,
    text("detail") ?? `The answer was ${status}, without a reason.`,
    known["retryable"] === true || status >= 502,
    text("request_id") ?? requestId,
    faults,
    text("permission"),
  );
}
