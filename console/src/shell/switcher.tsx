/** From one environment to another, staying on the same page. */
import { useQuery } from "@tanstack/react-query";
import { useLocation, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import * as Aria from "react-aria-components";
import { environmentsOf, type Seen } from "../account/place";
import { useWhoAmI } from "../account/session";
import type { Place } from "../api/client";
import type { Problem } from "../api/problem";
import { Loaded } from "../kit/panel";
import { State } from "../kit/text";
import { sameIn } from "./target";

const ORGANIZATION = "organization:"; // no slug has a colon

export function useEnvironments() {
  const whoami = useWhoAmI();
  return useQuery<Seen[], Problem>({
    queryKey: ["environments", whoami.data?.id],
    enabled: whoami.data !== undefined,
    queryFn: () => environmentsOf(whoami.data!),
  });
}

/** Those in which one has a role that is not of a single environment. */
export function useOrganizations(): string[] {
  const whoami = useWhoAmI();
  const roles = whoami.data?.roles.filter((role) => !role.environment) ?? [];
  return [...new Set(roles.map((role) => role.organization.slug))].sort();
}

export function Switcher({ place }: { place: Place }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <Aria.MenuTrigger isOpen={isOpen} onOpenChange={setOpen}>
      <Aria.Button className="button quiet switcher">
        <span className="sr">Environment: </span>
        <span className="wide-only">
          {place.org} <i>/</i> {place.project} <i>/</i>{" "}
        </span>
        <b>{place.environment}</b> <span aria-hidden="true">▾</span>
      </Aria.Button>
      <Aria.Popover className="popover" placement="bottom start">
        <Choices place={place} close={() => setOpen(false)} />
      </Aria.Popover>
    </Aria.MenuTrigger>
  );
}

function Choices({ place, close }: { place: Place; close: () => void }) {
  const query = useEnvironments();
  const organizations = useOrganizations();
  const navigate = useNavigate();
  const { pathname, searchStr } = useLocation();
  return (
    <Loaded query={query}>
      {(found) => (
        <Aria.Menu
          aria-label="Environments"
          className="menu"
          autoFocus="first"
          onAction={(key) => {
            close();
            const chosen = String(key);
            if (chosen.startsWith(ORGANIZATION)) void navigate({ to: "/orgs/$org/$tab", params: { org: chosen.slice(ORGANIZATION.length), tab: "projects" } });
            else void navigate({ href: sameIn(placeOf(chosen), pathname, searchStr) });
          }}
        >
          {projectsOf(found).map(([title, environments]) => (
            <Aria.MenuSection key={title} className="group" selectionMode="single" selectedKeys={[keyOf(place)]}>
              <Aria.Header>{title}</Aria.Header>
              {environments.map((seen) => (
                <Aria.MenuItem key={keyOf(seen)} id={keyOf(seen)} textValue={seen.environment} className="item">
                  <span>{seen.environment}</span>
                  {seen.status && seen.status !== "ready" ? <State state={seen.status} /> : <span className="hint">{seen.posture}</span>}
                </Aria.MenuItem>
              ))}
            </Aria.MenuSection>
          ))}
          {organizations.length > 0 && (
            <Aria.MenuSection className="group">
              <Aria.Header>Organizations</Aria.Header>
              {organizations.map((org) => (
                <Aria.MenuItem key={org} id={ORGANIZATION + org} textValue={org} className="item">
                  {org}
                </Aria.MenuItem>
              ))}
            </Aria.MenuSection>
          )}
        </Aria.Menu>
      )}
    </Loaded>
  );
}

export function keyOf(place: Place): string {
  return `${place.org}/${place.project}/${place.environment}`;
}

function placeOf(key: string): Place {
  const [org = "", project = "", environment = ""] = key.split("/");
  return { org, project, environment };
}

export function projectsOf(found: Seen[]): [string, Seen[]][] {
  const groups = new Map<string, Seen[]>();
  for (const seen of found) {
    const title = `${seen.org} / ${seen.project}`;
    groups.set(title, [...(groups.get(title) ?? []), seen]);
  }
  return [...groups];
}
