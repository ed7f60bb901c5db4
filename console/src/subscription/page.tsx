/** One subscription: its deliveries, each with what was sent and what was answered. */
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { useMay } from "../account/session";
import { Who } from "../account/who";
import { api, body, E, environmentPath, raw, type Place, type Schemas } from "../api/client";
import type { Problem } from "../api/problem";
import { textAt } from "../json/tree";
import { Json } from "../json/view";
import { Confirm, RotateSecret } from "../kit/action";
import { Button, Dialog } from "../kit/control";
import { Empty, Fact, Facts, Loaded, Panel } from "../kit/panel";
import { Pages, Sheet } from "../kit/pages";
import { Ago, Foreign, State, Time } from "../kit/text";
import { usePlace } from "../shell/place";
import { EditSubscription } from "./edit";
import { Standing, type Subscription } from "./list";

type Delivery = Schemas["DeliveryView"];

export function SubscriptionPage() {
  const place = usePlace();
  const { subscription } = useParams({ from: "/e/$org/$project/$environment/subscriptions/$subscription" });
  const path = { ...place, subscription };
  const query = useQuery<Subscription, Problem>({
    queryKey: ["subscription", place, subscription],
    queryFn: async () => body(await api.GET(`${E}/subscriptions/{subscription}`, { params: { path } })),
    refetchInterval: 5_000,
  });
  return (
    <div className="page">
      <p className="crumbs">
        <Link to="/e/$org/$project/$environment/triggers" params={place}>
          Triggers and subscriptions
        </Link>
      </p>
      <Loaded query={query}>{(found) => <Known one={found} place={place} />}</Loaded>
    </div>
  );
}

type Props = { one: Subscription; place: Place };

function Known({ one, place }: Props) {
  return (
    <>
      <div className="title">
        <h1>
          <Foreign>{one.url}</Foreign>
        </h1>
        <Standing one={one} />
        <Actions one={one} place={place} />
      </div>
      <div className="columns">
        <Deliveries one={one} place={place} />
        <Panel title="Details">
          <Facts>
            <Fact name="Events">{one.events.join(", ")}</Fact>
            <Fact name="Description">{one.description ? <Foreign>{one.description}</Foreign> : "none"}</Fact>
            {one.failing_since && (
              <Fact name="Failing">
                for <Ago at={one.failing_since} since />
              </Fact>
            )}
            {one.disabled_at && (
              <Fact name="Disabled">
                <Ago at={one.disabled_at} />
              </Fact>
            )}
            <Fact name="Created">
              <Time at={one.created_at} /> by <Who actor={one.created_by} place={place} />
            </Fact>
          </Facts>
        </Panel>
      </div>
    </>
  );
}

function Actions({ one, place }: Props) {
  const navigate = useNavigate();
  const may = useMay(place, "OperateEnvironment");
  const params = { params: { path: { ...place, subscription: one.id } } };
  const changes = [["subscription", place, one.id], ["subscriptions", place], ["deliveries", place, one.id]];
  const shared = { isDisabled: !may.allowed, changes };
  return (
    <div className="buttons">
      <EditSubscription one={one} place={place} isDisabled={!may.allowed} />
      <Confirm label="Test…" title="Deliver a test event?" submit="Deliver" run={() => api.POST(`${E}/subscriptions/{subscription}/test`, params)} {...shared}>
        <p>It is signed and sent like any other, once now and again until it is taken.</p>
      </Confirm>
      <RotateSecret
        of="this subscription"
        isDisabled={!may.allowed}
        changes={changes}
        run={async (overlap_seconds) => body(await api.POST(`${E}/subscriptions/{subscription}/rotate-secret`, { ...params, body: { overlap_seconds } })).secret ?? null}
      >
        <p>While both are valid, deliveries carry a signature of each.</p>
      </RotateSecret>
      <Confirm
        label={one.enabled ? "Disable…" : "Enable…"}
        title={one.enabled ? "Disable this subscription?" : "Enable this subscription?"}
        submit={one.enabled ? "Disable" : "Enable"}
        run={() => api.PATCH(`${E}/subscriptions/{subscription}`, { ...params, body: { enabled: !one.enabled } })}
        {...shared}
      >
        <p>{one.enabled ? "It is told of no event until it is enabled." : "It is told of events from now on."}</p>
      </Confirm>
      <Confirm
        label="Delete…"
        title="Delete this subscription?"
        submit="Delete"
        danger
        run={() => api.DELETE(`${E}/subscriptions/{subscription}`, params)}
        isDisabled={!may.allowed}
        changes={[["subscriptions", place]]}
        then={() => void navigate({ to: "/e/$org/$project/$environment/triggers", params: place })}
      >
        <p>What was not delivered yet never will be.</p>
      </Confirm>
    </div>
  );
}

function Deliveries({ one, place }: Props) {
  return (
    <Panel title="Deliveries">
      <Pages<Delivery>
        queryKey={["deliveries", place, one.id]}
        refetchMs={3_000}
        read={async (cursor) =>
          body(await api.GET(`${E}/subscriptions/{subscription}/deliveries`, { params: { path: { ...place, subscription: one.id }, query: { cursor } } }))
        }
        empty={<Empty title="Nothing was delivered yet" />}
      >
        {(found) => (
          <Sheet label="Deliveries" heads={["When", "Event", "State", "Attempts", "Answer", "Look"]}>
            {found.map((delivery) => (
              <Row key={delivery.id} delivery={delivery} one={one} place={place} />
            ))}
          </Sheet>
        )}
      </Pages>
    </Panel>
  );
}

function Row({ delivery, one, place }: Props & { delivery: Delivery }) {
  const [isOpen, setOpen] = useState(false);
  const may = useMay(place, "OperateEnvironment");
  const path = { ...place, subscription: one.id, delivery: delivery.id };
  return (
    <tr>
      <td>
        <Time at={delivery.created_at} short />
      </td>
      <td>{delivery.event}</td>
      <td>
        <State state={delivery.state} />
      </td>
      <td className="number">{delivery.attempts}</td>
      <td className="wrap">
        {delivery.status} {delivery.error && <Foreign>{delivery.error}</Foreign>}
      </td>
      <td>
        <Button look="quiet" onPress={() => setOpen(true)} aria-label={`Look at the delivery of ${delivery.event}`}>
          Look…
        </Button>
        <Confirm
          label="Redeliver…"
          look="quiet"
          title="Deliver this again?"
          submit="Redeliver"
          isDisabled={!may.allowed}
          run={() => api.POST(`${E}/subscriptions/{subscription}/deliveries/{delivery}/redeliver`, { params: { path } })}
          changes={[["deliveries", place, one.id]]}
        >
          <p>The same event, signed anew. A receiver that keeps what it has seen knows it by its id.</p>
        </Confirm>
        <Dialog title={`Delivery of ${delivery.event}`} isOpen={isOpen} onClose={() => setOpen(false)} wide>
          <Whole path={`${environmentPath(place)}/subscriptions/${one.id}/deliveries/${delivery.id}`} />
          <div className="buttons end">
            <Button onPress={() => setOpen(false)}>Close</Button>
          </div>
        </Dialog>
      </td>
    </tr>
  );
}

/** Request and answers, as text: both are somebody else's. */
function Whole({ path }: { path: string }) {
  const query = useQuery<string, Problem>({ queryKey: ["delivery", path], queryFn: () => raw(path) });
  return (
    <Loaded query={query}>
      {(text) => {
        const [request, attempts] = textAt(text, [["request"], ["tries"]]);
        return (
          <>
            {request && (
              <>
                <h3>Sent</h3>
                <Json text={request} label="Request" />
              </>
            )}
            {attempts && (
              <>
                <h3>Attempts and answers</h3>
                <Json text={attempts} label="Attempts" />
              </>
            )}
          </>
        );
      }}
    </Loaded>
  );
}
