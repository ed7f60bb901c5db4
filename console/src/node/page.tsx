/** One node: what it has, how it does, and letting it go. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../account/session";
import { api, E, type Place } from "../api/client";
import type { Problem } from "../api/problem";
import { Button, Dialog, Form } from "../kit/control";
import { Fact, Facts, Loaded, Panel } from "../kit/panel";
import { Ago, count, Foreign, State, Time } from "../kit/text";
import { usePlace } from "../shell/place";
import { Slots } from "./list";
import { nodeQuery, type Node } from "./model";

export function NodePage() {
  const place = usePlace();
  const { node } = useParams({ from: "/e/$org/$project/$environment/nodes/$node" });
  const query = useQuery(nodeQuery(place, node));
  return (
    <div className="page">
      <p className="crumbs">
        <Link to="/e/$org/$project/$environment/nodes" params={place}>
          Nodes
        </Link>
      </p>
      <Loaded query={query}>{(found) => <Known node={found} place={place} />}</Loaded>
    </div>
  );
}

function Known({ node, place }: { node: Node; place: Place }) {
  return (
    <>
      <div className="title">
        <h1>
          <Foreign>{node.name}</Foreign>
        </h1>
        <State state={node.state} />
        {node.state === "active" && <Drain node={node} place={place} />}
      </div>
      <div className="columns">
        <Panel title="Functions">
          <ul className="rows">
            {node.functions.map((one) => (
              <li key={one.name}>
                <Link to="/e/$org/$project/$environment/functions/$function" params={{ ...place, function: one.name }}>
                  <Foreign>{one.name}</Foreign>
                </Link>
                <span className="hint">at most {one.max_in_flight} at once</span>
              </li>
            ))}
          </ul>
        </Panel>
        <Panel title="Details">
          <Facts>
            <Fact name="Slots in use">
              <Slots node={node} />
            </Fact>
            <Fact name="Tags">
              {node.tags.length === 0
                ? "none"
                : node.tags.map((tag) => (
                    <bdi key={tag} className="label">
                      {tag}
                    </bdi>
                  ))}
            </Fact>
            <Fact name="Relay">{node.relay ?? "none"}</Fact>
            <Fact name="Round trip">{node.round_trip_ms === null ? "not measured yet" : `${node.round_trip_ms.toFixed(1)} ms`}</Fact>
            <Fact name="Connected">
              <Time at={node.connected_at} />
            </Fact>
            {node.disconnected_at ? (
              <Fact name="Gone">
                <Time at={node.disconnected_at} /> <span className="hint">{node.disconnect_reason}</span>
              </Fact>
            ) : (
              <Fact name="Last seen">
                <Ago at={node.last_seen_at} />
              </Fact>
            )}
            <Fact name="Attempts">
              {count(node.completed)} completed, {count(node.failed)} failed
            </Fact>
            <Fact name="Program">
              {node.sdk ?? "unknown"} {node.version ?? ""}
            </Fact>
            <Fact name="Id">
              <code>{node.id}</code>
            </Fact>
          </Facts>
        </Panel>
      </div>
    </>
  );
}

function Drain({ node, place }: { node: Node; place: Place }) {
  const client = useQueryClient();
  const may = useMay(place, "OperateEnvironment");
  const [isOpen, setOpen] = useState(false);
  const drain = useMutation<unknown, Problem>({
    mutationFn: () => api.POST(`${E}/nodes/{node}/drain`, { params: { path: { ...place, node: node.id } } }),
    onSuccess: () => setOpen(false),
    onSettled: () => client.invalidateQueries({ queryKey: ["node", place, node.id] }),
  });
  return (
    <div className="buttons">
      <Button isDisabled={!may.allowed} onPress={() => setOpen(true)}>
        Drain…
      </Button>
      <Dialog title={`Drain ${node.name}?`} isOpen={isOpen} onClose={() => setOpen(false)}>
        <Form submit="Drain" isBusy={drain.isPending} problem={drain.error} onSubmit={() => drain.mutate()} onCancel={() => setOpen(false)}>
          <p>It gets no new work, finishes what it has, and is told to leave.</p>
        </Form>
      </Dialog>
    </div>
  );
}
