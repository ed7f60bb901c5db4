/** The settings of an environment and of the organization that it is in. */
import { Link, useParams } from "@tanstack/react-router";
import { Empty } from "../kit/panel";
import { usePlace } from "../shell/place";
import { Audit } from "./audit";
import { EnvironmentKeys, OrganizationKeys } from "./key";
import { Life } from "./life";
import { Limits } from "./limit";
import { Members } from "./member";
import { Usage } from "./usage";

const TABS = [
  ["keys", "Keys"],
  ["members", "Members"],
  ["limits", "Limits"],
  ["usage", "Usage"],
  ["audit", "Audit"],
  ["environment", "Environment"],
] as const;

export function SettingsPage() {
  const place = usePlace();
  const { tab } = useParams({ from: "/e/$org/$project/$environment/settings/$tab" });
  return (
    <div className="page">
      <div className="title">
        <h1>Settings</h1>
        <div className="buttons">
          <Link className="button plain" to="/orgs/$org/$tab" params={{ org: place.org, tab: "projects" }}>
            Organization {place.org}
          </Link>
        </div>
      </div>
      <nav className="tab-list" aria-label="Settings">
        {TABS.map(([key, title]) => (
          <Link key={key} className="tab" to="/e/$org/$project/$environment/settings/$tab" params={{ ...place, tab: key }} activeProps={{ "aria-current": "page", "data-selected": "true" }}>
            {title}
          </Link>
        ))}
      </nav>
      {tab === "keys" && (
        <>
          <EnvironmentKeys place={place} />
          <OrganizationKeys place={place} />
        </>
      )}
      {tab === "members" && <Members place={place} />}
      {tab === "limits" && <Limits place={place} />}
      {tab === "usage" && <Usage place={place} />}
      {tab === "audit" && <Audit place={place} />}
      {tab === "environment" && <Life place={place} />}
      {!TABS.some(([key]) => key === tab) && <Empty title="There is no such setting" />}
    </div>
  );
}
