/** Which address shows what. All pages but signing in need a credential; without one they lead there, and back. */
import { createRootRoute, createRoute, createRouter, Outlet, redirect } from "@tanstack/react-router";
import { AcceptInvitation } from "./account/invitation";
import { SignIn } from "./account/sign_in";
import { resume } from "./account/session";
import { current } from "./api/credential";
import { FunctionsPage } from "./function/list";
import { FunctionPage } from "./function/page";
import { JobsPage } from "./job/list";
import { JobPage } from "./job/page";
import { readFilters } from "./job/filter";
import { Empty } from "./kit/panel";
import { NodesPage } from "./node/list";
import { NodePage } from "./node/page";
import { OrganizationPage } from "./organization/page";
import { OverviewPage } from "./overview/page";
import { SettingsPage } from "./setting/page";
import { Home } from "./shell/home";
import { readSearch, textOf, writeSearch } from "./shell/search";
import { Bare, Shell } from "./shell/shell";
import { SubscriptionPage } from "./subscription/page";
import { TriggersPage } from "./trigger/list";
import { TriggerPage } from "./trigger/page";

async function signedIn({ location }: { location: { href: string } }): Promise<void> {
  await resume();
  if (current() === null) throw redirect({ to: "/sign-in", search: location.href === "/" ? {} : { to: location.href } });
}

const root = createRootRoute({ component: Outlet, notFoundComponent: NotFound });

/** Only addresses of this console: anything else would send people away after they signed in. */
function ownAddress(value: unknown): string | undefined {
  const text = textOf(value);
  return text?.startsWith("/") && !/^\/[/\\]/.test(text) ? text : undefined;
}

const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  component: SignIn,
  validateSearch: (search): { to?: string | undefined } => ({ to: ownAddress(search["to"]) }),
});

const accept = createRoute({ getParentRoute: () => root, path: "/invitations/accept", component: AcceptInvitation });

const bare = createRoute({ getParentRoute: () => root, id: "bare", beforeLoad: signedIn, component: Bare });
const home = createRoute({ getParentRoute: () => bare, path: "/", component: Home });

const organization = createRoute({
  getParentRoute: () => bare,
  path: "/orgs/$org",
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/orgs/$org/$tab", params: { ...params, tab: "projects" }, replace: true });
  },
});
const ofOrganization = createRoute({ getParentRoute: () => bare, path: "/orgs/$org/$tab", component: OrganizationPage });

const environment = createRoute({
  getParentRoute: () => root,
  path: "/e/$org/$project/$environment",
  beforeLoad: signedIn,
  component: Shell,
});
const begin = createRoute({
  getParentRoute: () => environment,
  path: "/",
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/e/$org/$project/$environment/overview", params, replace: true });
  },
});
const jobs = createRoute({ getParentRoute: () => environment, path: "jobs", component: JobsPage, validateSearch: readFilters });
const job = createRoute({ getParentRoute: () => environment, path: "jobs/$job", component: JobPage });
const overview = createRoute({ getParentRoute: () => environment, path: "overview", component: OverviewPage });
const functions = createRoute({ getParentRoute: () => environment, path: "functions", component: FunctionsPage });
const oneFunction = createRoute({ getParentRoute: () => environment, path: "functions/$function", component: FunctionPage });
const nodes = createRoute({ getParentRoute: () => environment, path: "nodes", component: NodesPage });
const node = createRoute({ getParentRoute: () => environment, path: "nodes/$node", component: NodePage });
const triggers = createRoute({ getParentRoute: () => environment, path: "triggers", component: TriggersPage });
const trigger = createRoute({ getParentRoute: () => environment, path: "triggers/$trigger", component: TriggerPage });
const subscription = createRoute({ getParentRoute: () => environment, path: "subscriptions/$subscription", component: SubscriptionPage });
const settings = createRoute({
  getParentRoute: () => environment,
  path: "settings",
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/e/$org/$project/$environment/settings/$tab", params: { ...params, tab: "keys" }, replace: true });
  },
});
const setting = createRoute({ getParentRoute: () => environment, path: "settings/$tab", component: SettingsPage });

function NotFound() {
  return (
    <Empty title="There is no such page">
      <p>
        <a href="/">All environments</a>
      </p>
    </Empty>
  );
}

export const router = createRouter({
  routeTree: root.addChildren([
    signIn,
    accept,
    bare.addChildren([home, organization, ofOrganization]),
    environment.addChildren([begin, overview, jobs, job, functions, oneFunction, nodes, node, triggers, trigger, subscription, settings, setting]),
  ]),
  parseSearch: readSearch,
  stringifySearch: writeSearch,
  scrollRestoration: true,
  defaultNotFoundComponent: NotFound,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
