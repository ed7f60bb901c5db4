/** The frame of every page of an environment: where one is, where one can go, who one is. */
import { useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import * as Aria from "react-aria-components";
import { signOut, useWhoAmI } from "../account/session";
import { useConnected } from "../api/connection";
import { usePlace } from "./place";
import { Switcher } from "./switcher";
import { Whole } from "./whole";

const SECTIONS = [
  ["overview", "Overview"],
  ["jobs", "Jobs"],
  ["functions", "Functions"],
  ["nodes", "Nodes"],
  ["triggers", "Triggers"],
  ["settings", "Settings"],
] as const;

export function Banner() {
  const connected = useConnected();
  return (
    <div role="status" className={connected ? "banner" : "banner shown"}>
      {!connected && "Waypost does not answer. What is shown may be old; it is asked again until it answers."}
    </div>
  );
}

export function Brand() {
  return (
    <Link to="/" className="brand" aria-label="Waypost: all environments">
      <img src="/icon.svg" alt="" width="22" height="22" />
      <span>Waypost</span>
    </Link>
  );
}

export function Account() {
  const whoami = useWhoAmI();
  const client = useQueryClient();
  const navigate = useNavigate();
  const name = whoami.data?.name || whoami.data?.email || "…";
  return (
    <Aria.MenuTrigger>
      <Aria.Button className="button quiet account" aria-label={`Account: ${name}`}>
        <bdi>{name}</bdi> <span aria-hidden="true">▾</span>
      </Aria.Button>
      <Aria.Popover className="popover" placement="bottom end">
        <p className="hint">
          {whoami.data?.kind === "person" ? "Signed in as " : "Key "}
          <bdi>{whoami.data?.email ?? name}</bdi>
        </p>
        <Aria.Menu
          className="menu"
          aria-label="Account"
          onAction={() => void signOut(client).then(() => navigate({ to: "/sign-in" }))}
        >
          <Aria.MenuItem className="item" id="sign-out">
            {whoami.data?.kind === "person" ? "Sign out" : "Forget this key"}
          </Aria.MenuItem>
        </Aria.Menu>
      </Aria.Popover>
    </Aria.MenuTrigger>
  );
}

export function Shell() {
  const place = usePlace();
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="top">
        <Brand />
        <Switcher place={place} />
        <span className="spacer" />
        <Account />
      </header>
      <nav className="side" aria-label="Environment">
        {SECTIONS.map(([section, title]) => (
          <Link key={section} to={`/e/$org/$project/$environment/${section}`} params={place} activeProps={{ "aria-current": "page" }} activeOptions={{ includeSearch: false }}>
            {title}
          </Link>
        ))}
      </nav>
      <main id="main" tabIndex={-1}>
        <Banner />
        <Whole>
          <Outlet />
        </Whole>
      </main>
    </div>
  );
}

/** The frame of pages outside of any environment. */
export function Bare() {
  return (
    <div className="bare">
      <header className="top">
        <Brand />
        <span className="spacer" />
        <Account />
      </header>
      <main id="main">
        <Banner />
        <Whole>
          <Outlet />
        </Whole>
      </main>
    </div>
  );
}
