/** The functions of an environment: who serves them, what waits, how fast they are. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Empty, Loaded } from "../kit/panel";
import { Ago, count, duration, Foreign, State } from "../kit/text";
import { usePlace } from "../shell/place";
import { functionsQuery, isUnserved, type Function } from "./model";

export function FunctionsPage() {
  const place = usePlace();
  const query = useQuery(functionsQuery(place));
  return (
    <div className="page">
      <h1>Functions</h1>
      <p className="hint">What completed, what failed and how long it ran: of the last hour.</p>
      <Loaded query={query}>
        {(found) =>
          found.length === 0 ? (
            <Empty title="No function has been seen yet">
              <p>A function shows up here when a node declares it or a job asks for it.</p>
              <Link to="/e/$org/$project/$environment/nodes" params={place}>
                Connect a node
              </Link>
            </Empty>
          ) : (
            <div className="sheet" tabIndex={0} role="region" aria-label="Functions">
              <table>
                <thead>
                  <tr>
                    <th scope="col">Function</th>
                    <th scope="col" className="number">Nodes</th>
                    <th scope="col" className="number">Slots</th>
                    <th scope="col" className="number">Waiting</th>
                    <th scope="col" className="number">Running</th>
                    <th scope="col">Oldest</th>
                    <th scope="col" className="number">Completed</th>
                    <th scope="col" className="number">Failed</th>
                    <th scope="col" className="number">Run p50</th>
                    <th scope="col" className="number">p99</th>
                  </tr>
                </thead>
                <tbody>
                  {found.map((one) => (
                    <Row key={one.name} found={one} />
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Loaded>
    </div>
  );
}

function Row({ found }: { found: Function }) {
  const place = usePlace();
  const hour = found.last_hour;
  return (
    <tr>
      <th scope="row">
        <Link to="/e/$org/$project/$environment/functions/$function" params={{ ...place, function: found.name }}>
          <Foreign>{found.name}</Foreign>
        </Link>{" "}
        {found.paused && <State state="paused" />}
        {isUnserved(found) && <span className="state bad">nobody serves it</span>}
      </th>
      <td className="number">{count(found.nodes.connected)}</td>
      <td className="number">{count(found.nodes.max_in_flight)}</td>
      <td className="number">{count(found.queued)}</td>
      <td className="number">{count(found.running)}</td>
      <td>{found.oldest_waiting_at ? <Ago at={found.oldest_waiting_at} since /> : ""}</td>
      <td className="number">{count(hour.completed)}</td>
      <td className="number">{count(hour.failed)}</td>
      <td className="number">{hour.p50_ms === null ? "" : duration(hour.p50_ms)}</td>
      <td className="number">{hour.p99_ms === null ? "" : duration(hour.p99_ms)}</td>
    </tr>
  );
}
