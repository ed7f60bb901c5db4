/** Every environment in sight: where one begins. */
import { Link } from "@tanstack/react-router";
import { useWhoAmI } from "../account/session";
import { Empty, Loaded } from "../kit/panel";
import { State } from "../kit/text";
import { keyOf, projectsOf, useEnvironments, useOrganizations } from "./switcher";

export function Home() {
  const query = useEnvironments();
  return (
    <div className="page narrow">
      <h1>Environments</h1>
      <Organizations />
      <Loaded query={query}>
        {(found) =>
          found.length === 0 ? (
            <Nothing />
          ) : (
            projectsOf(found).map(([title, environments]) => (
              <section key={title} className="panel">
                <header>
                  <h2>{title}</h2>
                </header>
                <ul className="rows">
                  {environments.map((seen) => (
                    <li key={keyOf(seen)}>
                      <Link to="/e/$org/$project/$environment/overview" params={seen}>
                        {seen.environment}
                      </Link>
                      <span className="hint">{seen.posture}</span>
                      {seen.status && <State state={seen.status} />}
                    </li>
                  ))}
                </ul>
              </section>
            ))
          )
        }
      </Loaded>
    </div>
  );
}

function Nothing() {
  const whoami = useWhoAmI();
  return (
    <Empty title="No environment is in sight">
      {whoami.data?.roles.length === 0 ? (
        <p>This account has no role anywhere. Whoever administers an organization can give it one.</p>
      ) : (
        <p>This account has a role, but nothing lies there yet. Make an environment in the organization, or ask for a role in a project.</p>
      )}
    </Empty>
  );
}

function Organizations() {
  const slugs = useOrganizations();
  if (slugs.length === 0) return null;
  return (
    <p className="buttons">
      {slugs.map((org) => (
        <Link key={org} className="button plain" to="/orgs/$org/$tab" params={{ org, tab: "projects" }}>
          Organization {org}
        </Link>
      ))}
    </p>
  );
}
