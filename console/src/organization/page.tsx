/** An organization: its projects and environments, its people, its keys, what it used, what was done in it. */
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { Empty, Fact, Facts, Failed, Panel } from "../kit/panel";
import { Foreign, Time } from "../kit/text";
import { OrganizationAudit } from "../setting/audit";
import { OrganizationKeys } from "../setting/key";
import { LimitsPanel } from "../setting/limit";
import { Members } from "../setting/member";
import { OrganizationUsage } from "../setting/usage";
import { organizationQuery, type Organization } from "./model";
import { Projects } from "./project";

const TABS = [
  ["projects", "Projects"],
  ["members", "Members"],
  ["keys", "Keys"],
  ["usage", "Usage"],
  ["limits", "Limits"],
  ["audit", "Audit"],
] as const;

export function OrganizationPage() {
  const { org, tab } = useParams({ from: "/bare/orgs/$org/$tab" });
  const query = useQuery(organizationQuery(org));
  return (
    <div className="page middle">
      <p className="crumbs">
        <Link to="/">All environments</Link>
      </p>
      <h1>
        <Foreign>{query.data?.name ?? org}</Foreign>
      </h1>
      <nav className="tab-list" aria-label="Organization">
        {TABS.map(([key, title]) => (
          <Link key={key} className="tab" to="/orgs/$org/$tab" params={{ org, tab: key }} activeProps={{ "aria-current": "page", "data-selected": "true" }}>
            {title}
          </Link>
        ))}
      </nav>
      {query.error && query.data === undefined && <Failed problem={query.error} retry={() => void query.refetch()} />}
      {tab === "projects" && <Projects org={org} />}
      {tab === "members" && <Members place={{ org }} />}
      {tab === "keys" && <OrganizationKeys place={{ org }} />}
      {tab === "usage" && <OrganizationUsage org={org} />}
      {tab === "limits" && query.data && <About organization={query.data} />}
      {tab === "audit" && <OrganizationAudit org={org} />}
      {!TABS.some(([key]) => key === tab) && <Empty title="There is no such part of an organization" />}
    </div>
  );
}

function About({ organization }: { organization: Organization }) {
  return (
    <>
      <Panel title="Organization">
        <Facts>
          <Fact name="Name">
            <Foreign>{organization.name}</Foreign>
          </Fact>
          <Fact name="In addresses">
            <code>{organization.slug}</code>
          </Fact>
          <Fact name="Created">
            <Time at={organization.created_at} />
          </Fact>
        </Facts>
      </Panel>
      <LimitsPanel limits={organization.limits as Record<string, number>} sources={organization.limit_sources as Record<string, string>} />
    </>
  );
}
