/** The fleet: relays, the nodes at each, what they have and how busy they are. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Place } from "../api/client";
import { Empty, Loaded, Panel } from "../kit/panel";
import { Ago, Foreign, plural, State } from "../kit/text";
import { usePlace } from "../shell/place";
import { Connect, Credentials } from "./connect";
import { fleetOf, nodesQuery, type Node } from "./model";

const LOST_SHOWN = 20;

export function NodesPage() {
  const place = usePlace();
  const query = useQuery(nodesQuery(place));
  return (
    <div className="page">
      <div className="title">
        <h1>Nodes</h1>
        <div className="buttons">
          <Connect place={place} />
        </div>
      </div>
      <Loaded query={query}>{(nodes) => <Fleet nodes={nodes} place={place} />}</Loaded>
      <Credentials place={place} />
    </div>
  );
}

function Fleet({ nodes, place }: { nodes: Node[]; place: Place }) {
  const { relays, lost } = fleetOf(nodes);
  return (
    <>
      {relays.length === 0 && (
        <Empty title="No node is connected">
          <p>A node is a program of yours that dials out to Waypost and runs your functions, on any machine that reaches it.</p>
        </Empty>
      )}
      {relays.map(([relay, members]) => (
        <Panel key={relay} title={`${relay}: ${plural(members.length, "node")}`}>
          <ul className="cards">
            {members.map((node) => (
              <Card key={node.id} node={node} place={place} />
            ))}
          </ul>
        </Panel>
      ))}
      {lost.length > 0 && (
        <Panel title="Not connected any more">
          <ul className="rows">
            {lost.slice(0, LOST_SHOWN).map((node) => (
              <li key={node.id}>
                <Link to="/e/$org/$project/$environment/nodes/$node" params={{ ...place, node: node.id }}>
                  <Foreign>{node.name}</Foreign>
                </Link>
                <span className="hint">
                  {node.disconnect_reason ?? "lost"} <Ago at={node.disconnected_at ?? node.last_seen_at} />
                </span>
              </li>
            ))}
          </ul>
          {lost.length > LOST_SHOWN && <p className="hint">and {plural(lost.length - LOST_SHOWN, "more", "more")}</p>}
        </Panel>
      )}
    </>
  );
}

function Card({ node, place }: { node: Node; place: Place }) {
  return (
    <li className="card">
      <div className="card-title">
        <Link to="/e/$org/$project/$environment/nodes/$node" params={{ ...place, node: node.id }}>
          <Foreign>{node.name}</Foreign>
        </Link>
        <State state={node.state} />
      </div>
      <Slots node={node} />
      <div>
        {node.tags.map((tag) => (
          <bdi key={tag} className="label">
            {tag}
          </bdi>
        ))}
        {node.tags.length === 0 && <span className="hint">no tags</span>}
      </div>
      <p className="hint">
        {plural(node.functions.length, "function")} · {node.round_trip_ms === null ? "round trip not measured yet" : `${node.round_trip_ms.toFixed(1)} ms round trip`}
      </p>
    </li>
  );
}

/** How many of its slots are in use. */
export function Slots({ node }: { node: Node }) {
  return (
    <div className="slots">
      <meter min={0} max={Math.max(1, node.max_in_flight)} value={node.in_flight} aria-label={`Slots of ${node.name} in use`} />
      <span>
        {node.in_flight} of {node.max_in_flight}
      </span>
    </div>
  );
}
