/** Why a job is not running, in words, with the numbers behind them. */
import type { Schemas } from "../api/client";
import { Ago, count } from "../kit/text";

const TITLES: Record<string, string> = {
  scheduled: "It is not due yet",
  retry_backoff: "It waits before the next attempt",
  function_paused: "The function is paused",
  concurrency_limit: "Others of its kind are running",
  no_node_connected: "No node is connected",
  function_not_served: "No node serves the function",
  no_node_matches: "No node has the tags it asks for",
  nodes_busy: "All nodes that may run it are busy",
  environment_suspended: "The environment hands out no work",
  dispatching: "It is on its way to a node",
};

export function Waiting({ waiting }: { waiting: Schemas["WaitingView"] }) {
  const { connected, serving, matching, free } = waiting.nodes;
  const steps: [string, number][] = [
    ["connected", connected],
    ["with the function", serving],
    ["with the tags", matching],
    ["with a free slot", free],
  ];
  return (
    <section className="waiting" aria-labelledby="why">
      <h2 id="why">{TITLES[waiting.reason] ?? waiting.reason}</h2>
      <p>
        <bdi>{waiting.detail}</bdi>
      </p>
      <ol className="funnel">
        {steps.map(([name, number]) => (
          <li key={name} className={number === 0 ? "none" : ""}>
            <b>{count(number)}</b> {name}
          </li>
        ))}
      </ol>
      <p className="hint">
        For <Ago at={waiting.since} since />.
      </p>
    </section>
  );
}
