/** The table of jobs: any number of them, read page by page as one scrolls, with rows only for what is in sight. */
import { useInfiniteQuery, useQueryClient, type InfiniteData } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent } from "react";
import { environmentPath, raw, type Place } from "../api/client";
import type { StateEvent } from "../api/events";
import type { Problem } from "../api/problem";
import { Button } from "../kit/control";
import { Empty, Failed, Loading } from "../kit/panel";
import { count, duration, Foreign, plural, State, Time } from "../kit/text";
import { usePlace } from "../shell/place";
import { CancelMany } from "./cancel_many";
import { Export } from "./export";
import { isFiltered, queryOf, readFilters, type Filters } from "./filter";
import { FilterBar } from "./filter_bar";
import { HEAD, useHead, useStates } from "./live";
import type { Listed, Page } from "./model";
import { ReplayMany } from "./replay_many";
import { isEnd } from "./state";

const PAGE = 200;
const AHEAD = 40;

/** The list of these filters. It keeps its place while it is looked at: newer jobs come when they are asked for. */
function useJobs(place: Place, query: string) {
  return useInfiniteQuery<Page, Problem, InfiniteData<Page>, unknown[], string | null>({
    queryKey: ["jobs", place, query],
    queryFn: async ({ pageParam, signal }) => {
      const after = pageParam === null ? "" : `&cursor=${encodeURIComponent(pageParam)}`;
      return JSON.parse(await raw(`${environmentPath(place)}/jobs?limit=${PAGE}&${query}${after}`, { signal })) as Page;
    },
    initialPageParam: null,
    getNextPageParam: (page) => page.next_cursor,
    staleTime: Infinity,
    refetchOnReconnect: false,
    refetchOnWindowFocus: false,
  });
}

export function JobsPage() {
  const place = usePlace();
  const filters = useSearch({ from: "/e/$org/$project/$environment/jobs" });
  const key = JSON.stringify([place, filters]);
  return <JobsOf key={key} place={place} filters={filters} />;
}

function JobsOf({ place, filters }: { place: Place; filters: Filters }) {
  const [began, setBegan] = useState(() => beginning(filters));
  const query = useMemo(() => queryOf(filters, began).toString(), [filters, began]);
  const jobs = useJobs(place, query);
  const client = useQueryClient();
  const navigate = useNavigate();
  const head = useHead(place, query);
  const states = useStates(place, head.touch);
  const rows = useMemo(() => jobs.data?.pages.flatMap((page) => page.items) ?? [], [jobs.data]);
  const known = useMemo(() => new Set(rows.slice(0, PAGE).map((job) => job.id)), [rows]);
  const newest = useMemo(() => new Map(head.items.map((job) => [job.id, job])), [head.items]);
  const added = jobs.data === undefined ? 0 : head.items.filter((job) => !known.has(job.id)).length;
  const restart = () => {
    window.scrollTo({ top: 0 });
    client.removeQueries({ queryKey: ["jobs-head", place, query] });
    if (filters.since) setBegan(Date.now());
    void client.resetQueries({ queryKey: ["jobs", place, query] });
  };
  useEffect(() => {
    if (added > 0 && rows.length === 0) restart(); // nothing is there that could jump
  });
  const change = (next: (now: Filters) => Filters) =>
    void navigate({ to: ".", search: ((now: Record<string, unknown>) => readFilters(next(readFilters(now)))) as never });
  return (
    <div className="page jobs">
      <div className="title">
        <h1>Jobs</h1>
        <span className="hint" role="status">
          {jobs.data && `${count(rows.length)}${jobs.hasNextPage ? " read so far" : ""}`}
        </span>
        {rows.length > 0 && (
          <div className="buttons">
            <Export place={place} filters={filters} now={began} />
            <CancelMany place={place} filters={filters} now={began} />
            <ReplayMany place={place} filters={filters} now={began} />
          </div>
        )}
      </div>
      <FilterBar place={place} filters={filters} onChange={change} />
      {added > 0 && (
        <div className="news" role="status">
          <Button look="primary" onPress={restart}>
            Show {added >= HEAD ? `${HEAD} or more new jobs` : plural(added, "new job")}
          </Button>
        </div>
      )}
      {jobs.data === undefined ? (
        jobs.error ? (
          <Failed problem={jobs.error} retry={() => void jobs.refetch()} />
        ) : (
          <Loading />
        )
      ) : rows.length === 0 ? (
        <NoJobs filtered={isFiltered(filters)} place={place} />
      ) : (
        <Table
          place={place}
          rows={rows}
          states={states}
          newest={newest}
          more={jobs.hasNextPage}
          problem={jobs.isFetchNextPageError ? jobs.error : null}
          onEnd={() => {
            if (jobs.hasNextPage && !jobs.isFetchingNextPage && !jobs.isFetchNextPageError) void jobs.fetchNextPage();
          }}
          retry={() => void jobs.fetchNextPage()}
        />
      )}
    </div>
  );
}

/** To the minute: a list that one returns to is then the same one for a while. */
function beginning(filters: Filters): number {
  return filters.since ? Math.floor(Date.now() / 60_000) * 60_000 : 0;
}

function NoJobs({ filtered, place }: { filtered: boolean; place: Place }) {
  if (filtered) {
    return (
      <Empty title="No job matches these filters">
        <Link to="/e/$org/$project/$environment/jobs" params={place} search={{}}>
          Clear all filters
        </Link>
      </Empty>
    );
  }
  return (
    <Empty title="No jobs yet">
      <p>Submit the first one; it shows up here as soon as it is accepted.</p>
      <pre className="code">waypost jobs submit text.count --payload '{`{"text": "to be or not to be"}`}'</pre>
    </Empty>
  );
}

type TableProps = {
  place: Place;
  rows: Listed[];
  states: ReadonlyMap<string, StateEvent>;
  newest: ReadonlyMap<string, Listed>;
  more: boolean;
  problem: Problem | null;
  onEnd: () => void;
  retry: () => void;
};

function Table({ place, rows, states, newest, more, problem, onEnd, retry }: TableProps) {
  const list = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const height = useRowHeight();
  useLayoutEffect(() => {
    const rect = list.current?.getBoundingClientRect();
    if (rect) setTop(rect.top + window.scrollY);
  }, [height]);
  const virtual = useWindowVirtualizer({ count: rows.length, estimateSize: () => height, overscan: 12, scrollMargin: top });
  const shown = virtual.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && last >= rows.length - AHEAD) onEnd();
  });
  useEffect(() => virtual.measure(), [height, virtual]);
  return (
    <>
      <div role="table" aria-label="Jobs" aria-rowcount={more ? -1 : rows.length + 1} className="table">
        <div role="rowgroup" className="table-head">
          <div role="row" aria-rowindex={1} className="table-row">
            {["State", "Function", "Labels", "Created", "Took", "Attempts"].map((title) => (
              <span role="columnheader" key={title} className={`cell cell-${title.toLowerCase()}`}>
                {title}
              </span>
            ))}
          </div>
        </div>
        <div role="rowgroup" ref={list} className="table-body" style={{ height: virtual.getTotalSize() }} onKeyDown={moveFocus}>
          {shown.map((item) => {
            const job = rows[item.index];
            if (job === undefined) return null;
            return (
              <div
                role="row"
                aria-rowindex={item.index + 2}
                key={job.id}
                className="table-row"
                style={{ height, transform: `translateY(${item.start - top}px)` }}
              >
                <Cells place={place} job={newest.get(job.id) ?? job} event={states.get(job.id)} />
              </div>
            );
          })}
        </div>
      </div>
      {problem ? <Failed problem={problem} retry={retry} /> : more ? <Loading /> : <p className="hint end">That is all of them.</p>}
    </>
  );
}

const NARROW = window.matchMedia("(max-width: 720px)");

function useRowHeight(): number {
  const [narrow, setNarrow] = useState(NARROW.matches);
  useEffect(() => {
    const look = () => setNarrow(NARROW.matches);
    NARROW.addEventListener("change", look);
    return () => NARROW.removeEventListener("change", look);
  }, []);
  return narrow ? 64 : 38;
}

/** Up and down go from row to row, as Tab does. */
function moveFocus(event: KeyboardEvent<HTMLDivElement>): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  const links = [...event.currentTarget.querySelectorAll<HTMLAnchorElement>("a.row-link")];
  const next = links[links.indexOf(document.activeElement as HTMLAnchorElement) + step];
  if (next) {
    event.preventDefault();
    next.focus();
  }
}

function Cells({ place, job, event }: { place: Place; job: Listed; event: StateEvent | undefined }) {
  const isNewer = event !== undefined && (event.attempt > job.attempt || (event.at > job.updated_at && !isEnd(job.state)));
  const state = isNewer ? event.state : job.state;
  const finished = isNewer && isEnd(event.state) ? event.at : job.finished_at;
  const labels = Object.entries(job.labels);
  return (
    <>
      <span role="cell" className="cell cell-state">
        <State state={state} />
      </span>
      <span role="cell" className="cell cell-function">
        <Link className="row-link" to="/e/$org/$project/$environment/jobs/$job" params={{ ...place, job: job.id }}>
          <Foreign>{job.function}</Foreign>
        </Link>
      </span>
      <span role="cell" className="cell cell-labels">
        {labels.map(([key, value]) => (
          <bdi key={key} className="label">
            {key}={value}
          </bdi>
        ))}
      </span>
      <span role="cell" className="cell cell-created">
        <Time at={job.created_at} short />
      </span>
      <span role="cell" className="cell cell-took">
        {job.started_at && finished ? duration(Date.parse(finished) - Date.parse(job.started_at)) : ""}
      </span>
      <span role="cell" className="cell cell-attempts">
        {isNewer ? event.attempt : job.attempt}
      </span>
    </>
  );
}
