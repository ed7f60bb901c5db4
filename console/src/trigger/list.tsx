/** What makes jobs, and who is told of them: triggers and subscriptions. */
import { Link } from "@tanstack/react-router";
import { api, body, E } from "../api/client";
import { Empty, Panel } from "../kit/panel";
import { Pages, Sheet } from "../kit/pages";
import { Foreign, State, Time } from "../kit/text";
import { usePlace } from "../shell/place";
import { Subscriptions } from "../subscription/list";
import { Create } from "./create";
import { functionOf, whenOf, type Trigger } from "./model";

export function TriggersPage() {
  const place = usePlace();
  return (
    <div className="page">
      <h1>Triggers and subscriptions</h1>
      <Panel title="Triggers" actions={<Create place={place} />}>
        <Pages<Trigger>
          queryKey={["triggers", place]}
          read={async (cursor) => body(await api.GET(`${E}/triggers`, { params: { path: place, query: { cursor } } }))}
          empty={
            <Empty title="No triggers yet">
              <p>A trigger submits jobs by itself: at the times of a schedule, or when a signed webhook comes.</p>
            </Empty>
          }
        >
          {(found) => (
            <Sheet label="Triggers" heads={["Name", "Fires", "Function", "Next", "State"]}>
              {found.map((trigger) => (
                <tr key={trigger.id}>
                  <th scope="row">
                    <Link to="/e/$org/$project/$environment/triggers/$trigger" params={{ ...place, trigger: trigger.id }}>
                      <Foreign>{trigger.name}</Foreign>
                    </Link>
                  </th>
                  <td>{whenOf(trigger)}</td>
                  <td>
                    <Foreign>{functionOf(trigger)}</Foreign>
                  </td>
                  <td>{trigger.next_fire_times?.[0] && trigger.state === "active" ? <Time at={trigger.next_fire_times[0]} /> : ""}</td>
                  <td>
                    <State state={trigger.state} />
                  </td>
                </tr>
              ))}
            </Sheet>
          )}
        </Pages>
      </Panel>
      <Subscriptions place={place} />
    </div>
  );
}
