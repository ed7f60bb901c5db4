/** What made a job: the trigger that submitted it, by name, and the firing that it came of. */
import { queryOptions, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { api, body, E, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { Json } from "../json/view";
import { Fact } from "../kit/panel";
import { Foreign, Time } from "../kit/text";
import { triggerQuery, type Firing, type Trigger } from "../trigger/model";
import type { Job } from "./model";

const MOST = 200;
const SLACK_MS = 5_000; // a firing is noted about when its job is
const YOUNG_MS = 10_000;
const LOOK_AGAIN_MS = 2_000;

/** The newest triggers of an environment. */
export const triggersQuery = (place: Place) =>
  queryOptions<Trigger[], Problem>({
    queryKey: ["trigger-names", place],
    queryFn: async () => body(await api.GET(`${E}/triggers`, { params: { path: place, query: { limit: MOST } } })).items,
  });

/** The firing that `job` came of; null when it is not among those around the job's submission. */
const firingQuery = (place: Place, trigger: string, job: Job) =>
  queryOptions<Firing | null, Problem>({
    queryKey: ["firing", place, trigger, job.id],
    queryFn: async () => {
      const query = { to: new Date(Date.parse(job.created_at) + SLACK_MS).toISOString(), limit: MOST };
      const page = body(await api.GET(`${E}/triggers/{trigger}/firings`, { params: { path: { ...place, trigger }, query } }));
      return page.items.find((firing) => firing.job_id === job.id) ?? null;
    },
    // Firings are written in batches, a moment after their jobs.
    refetchInterval: () => (Date.now() - Date.parse(job.created_at) < YOUNG_MS ? LOOK_AGAIN_MS : false),
    staleTime: Infinity,
  });

export function Origin({ place, trigger, job }: { place: Place; trigger: string; job: Job }) {
  const found = useQuery(triggerQuery(place, trigger));
  const { data: firing } = useQuery(firingQuery(place, trigger, job));
  return (
    <>
      <Fact name="Trigger">
        {found.error?.status === 404 ? (
          <>
            <code>{trigger}</code> <span className="hint">is deleted</span>
          </>
        ) : (
          <Link to="/e/$org/$project/$environment/triggers/$trigger" params={{ ...place, trigger }}>
            <Foreign>{found.data?.name ?? trigger}</Foreign>
          </Link>
        )}
        <br />
        <Link to="/e/$org/$project/$environment/jobs" params={place} search={{ trigger }}>
          All jobs of it
        </Link>
      </Fact>
      {firing && (
        <Fact name="Firing">
          {firing.due_at ? "due " : "received "}
          <Time at={firing.due_at ?? firing.received_at ?? job.created_at} />
          {firing.headers && (
            <details>
              <summary>Request headers</summary>
              <Json text={JSON.stringify(firing.headers)} label="Request headers" />
            </details>
          )}
        </Fact>
      )}
    </>
  );
}
