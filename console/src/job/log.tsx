/** What a job logged, read on while there may be more. */
import { useEffect, useState } from "react";
import { api, body, E, type Place, type Schemas } from "../api/client";
import { Problem } from "../api/problem";
import { Failed, Loading, Panel } from "../kit/panel";
import { Foreign, plural, Time } from "../kit/text";

type Line = Schemas["LogView"];
type Page = Schemas["LogPage"];
type Read = { lines: Line[]; dropped: number; done: boolean; begun: boolean; problem: Problem | null };

const LOOK_AGAIN_MS = 1_000;
const SHOWN = 2_000;

/** The log so far. It is asked for again, not waited for: a waiting request would hold one of the browser's few connections. */
function useLog({ org, project, environment }: Place, id: string): Read {
  const [read, setRead] = useState<Read>({ lines: [], dropped: 0, done: false, begun: false, problem: null });
  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let cursor: string | null = null;
    const look = async () => {
      try {
        const query = { cursor: cursor ?? undefined };
        const params = { path: { org, project, environment, job: id }, query };
        const page: Page = body(await api.GET(`${E}/jobs/{job}/logs`, { params, signal: abort.signal }));
        cursor = page.next_cursor ?? page.follow_cursor;
        const done = cursor === null;
        setRead((before) => {
          const lines = [...before.lines, ...page.items];
          const over = Math.max(0, lines.length - SHOWN);
          return { lines: lines.slice(over), dropped: before.dropped + over, done, begun: true, problem: null };
        });
        if (!done) timer = setTimeout(() => void look(), page.next_cursor === null ? LOOK_AGAIN_MS : 0);
      } catch (error) {
        if (abort.signal.aborted) return;
        const problem = error instanceof Problem ? error : null;
        if (problem?.retryable) timer = setTimeout(() => void look(), LOOK_AGAIN_MS);
        else setRead((before) => ({ ...before, problem }));
      }
    };
    void look();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [org, project, environment, id]);
  return read;
}

export function Log({ place, id }: { place: Place; id: string }) {
  const { lines, dropped, done, begun, problem } = useLog(place, id);
  return (
    <Panel title="Log">
      {problem ? (
        <Failed problem={problem} />
      ) : !begun ? (
        <Loading />
      ) : lines.length === 0 ? (
        <p className="hint">It has logged nothing{done ? "." : " so far."}</p>
      ) : (
        <>
          {dropped > 0 && <p className="hint">{plural(dropped, "earlier line is", "earlier lines are")} not shown; the API has them all.</p>}
          <div className="log scroll" role="log" aria-label="Log" tabIndex={0}>
            {lines.map((line) => (
              <div key={`${line.attempt} ${line.line}`} className={`line ${line.level}`}>
                <Time at={line.at} short /> <span className="level">{line.level}</span> <Foreign>{line.message}</Foreign>
              </div>
            ))}
          </div>
        </>
      )}
    </Panel>
  );
}
