"""The commands of tenancy, people, access and contexts against the whole platform, run in this process."""

import io
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import keyring
import pytest
from keyring.backends import fail
from waypost_sdk.command.main import main

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Waypost = Callable[..., Done]


def name(kind: str) -> str:
    """A slug that nobody else uses."""
    return f"{kind}{uuid4().hex[:10]}"


@pytest.fixture
def waypost(platform, tmp_path, monkeypatch, capfd) -> Waypost:
    """Run a command with the administrator's key; `stdin` is piped, variables that are None are not set."""
    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())
    standard = {
        "WAYPOST_CONFIG": str(tmp_path / "config.toml"),
        "WAYPOST_URL": platform.api_url,
        "WAYPOST_KEY": platform.admin_key,
        "WAYPOST_ENVIRONMENT": platform.environment,
        "WAYPOST_CONTEXT": None,
    }

    def run(*arguments: str, stdin: str = "", **variables: str | None) -> Done:
        with monkeypatch.context() as patch:
            for key, value in {**standard, **variables}.items():
                patch.setenv(key, value or "")  # recorded, so that what a command sets is undone
                if value is None:
                    patch.delenv(key)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main(arguments)
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    yield run
    keyring.set_keyring(before)


@pytest.fixture
def signed_out() -> dict[str, None]:
    """Neither key, nor address, nor environment: what comes from a context only."""
    return dict.fromkeys(("WAYPOST_KEY", "WAYPOST_URL", "WAYPOST_ENVIRONMENT"))


def ok(done: Done) -> Any:
    """Its JSON; it must have succeeded."""
    assert done.code == 0, done.err
    return json.loads(done.out) if done.out else None


def test_the_tree_is_made_read_listed_and_changed(waypost):
    """An organization, a project of it, an environment of that: each command, all of it as JSON when piped."""
    org = ok(waypost("org", "create", "--name", "Harbour Ltd", "--slug", name("o")))
    as_org = {"WAYPOST_KEY": org["admin_key"], "WAYPOST_ENVIRONMENT": org["slug"]}
    assert ok(waypost("org", "get", **as_org))["id"] == org["id"]
    assert [item["id"] for item in ok(waypost("org", "list", **as_org))] == [org["id"]]
    project = ok(waypost("project", "create", "--name", "Images", "--description", "Thumbnails", **as_org))
    assert ok(waypost("project", "get", "images", **as_org))["description"] == "Thumbnails"
    assert [item["slug"] for item in ok(waypost("project", "list", **as_org))] == ["images"]
    made = ok(waypost("env", "create", "--name", "Dev", "--project", "images", "--wait", **as_org))
    assert (made["status"], made["slug"], made["project_id"]) == ("ready", "dev", project["id"])
    in_project = as_org | {"WAYPOST_ENVIRONMENT": f"{org['slug']}/images"}
    assert [item["slug"] for item in ok(waypost("env", "list", **in_project))] == ["dev"]
    assert ok(waypost("env", "get", "dev", **in_project))["id"] == made["id"]
    assert ok(waypost("env", "update", "dev", "--name", "Development", **in_project))["name"] == "Development"
    assert ok(waypost("project", "update", "images", "--name", "Pictures", **as_org))["name"] == "Pictures"
    assert ok(waypost("org", "update", "--name", "Harbour", **as_org))["name"] == "Harbour"
    ok(waypost("org", "update", "--setting", "cost_centre=4711", "--setting", "city=Turku", **as_org))
    assert ok(waypost("org", "update", "--setting", "city=", **as_org))["settings"] == {"cost_centre": "4711"}
    limited = ok(waypost("env", "update", "dev", "--limit", "waiting_jobs=10", **in_project))
    assert (limited["limits"]["waiting_jobs"], limited["limit_sources"]["waiting_jobs"]) == (10, "environment")
    back = ok(waypost("env", "update", "dev", "--limit", "waiting_jobs=default", **in_project))
    assert back["limit_sources"]["waiting_jobs"] != "environment"


def test_waiting_tells_each_step_as_it_is_done(waypost):
    """Steps and their times go to stderr, the environment to stdout."""
    made = waypost("env", "create", "--name", "steps", "--slug", name("e"), "--wait")
    steps = ok(made)["steps"]
    assert steps
    assert [line.split()[:2] for line in made.err.splitlines()] == [[step["name"], "done"] for step in steps]
    assert all(re.fullmatch(r"\w+ done (\d+ ms|\d+\.\d s)", line) for line in made.err.splitlines())


def test_only_what_was_seen_is_changed(waypost):
    """--if-match with an old etag is a conflict, exit code 8, that says what to do."""
    slug = name("p")
    first = ok(waypost("project", "create", "--name", "First", "--slug", slug))
    ok(waypost("project", "update", slug, "--name", "Second", "--if-match", first["etag"]))
    late = waypost("project", "update", slug, "--name", "Third", "--if-match", first["etag"])
    assert late.code == 8
    assert "Read it again; --if-match takes the `etag` of its JSON." in late.err
    assert ok(waypost("project", "get", slug))["name"] == "Second"


def test_an_environment_is_suspended_resumed_and_deleted(waypost):
    """Each with --wait ends in the state that it promises; afterwards there is nothing."""
    slug = name("e")
    ok(waypost("env", "create", "--name", slug, "--slug", slug, "--wait"))
    assert ok(waypost("env", "suspend", slug, "--wait"))["status"] == "suspended"
    assert ok(waypost("env", "resume", slug, "--wait"))["status"] == "ready"
    unasked = waypost("env", "delete", slug)
    assert (unasked.code, ok(waypost("env", "get", slug))["status"]) == (2, "ready")
    assert "--yes" in unasked.err
    gone = waypost("env", "delete", slug, "--yes", "--wait")
    assert (gone.code, gone.err.splitlines()[-1]) == (0, f"deleted {slug}")
    assert waypost("env", "get", slug).code == 7


def test_a_project_goes_with_its_environments(waypost):
    """Deleting asks for --yes where nobody can be asked."""
    slug, inner = name("p"), name("e")
    ok(waypost("project", "create", "--name", slug, "--slug", slug))
    assert waypost("project", "delete", slug).code == 2
    ok(waypost("env", "create", "--name", inner, "--slug", inner, "--project", slug, "--wait"))
    gone = waypost("project", "delete", slug, "--yes", "--wait", "--timeout", "60")
    assert (gone.code, gone.err) == (0, f"deleted {slug}\n")
    assert waypost("env", "get", inner, "--project", slug).code == 7
    assert waypost("project", "get", slug).code == 7


@pytest.mark.parametrize("wide", [(), ("--org-wide",)])
def test_a_key_works_until_it_is_deleted(waypost, wide):
    """Made, read, rotated with an overlap of nothing, deleted; of the environment and of the organization."""
    key = ok(waypost("key", "create", "--name", "ci", "--role", "viewer", "--expires", "1h", *wide))
    assert key["key"].startswith("wp_" if wide else "wpe_")
    assert ok(waypost("env", "get", WAYPOST_KEY=key["key"]))["slug"] == "dev"
    forbidden = waypost("key", "list", WAYPOST_KEY=key["key"])
    assert forbidden.code == 4
    assert "ManageEnvironment" in forbidden.err
    assert "waypost whoami" in forbidden.err
    assert ok(waypost("key", "get", key["id"], *wide))["expires_at"] == key["expires_at"]
    fresh = ok(waypost("key", "rotate", key["id"], "--overlap", "0m", *wide))
    assert waypost("env", "get", WAYPOST_KEY=key["key"]).code == 3
    assert fresh["id"] in [item["id"] for item in ok(waypost("key", "list", *wide))]
    assert waypost("key", "delete", fresh["id"], *wide).code == 0
    refused = waypost("env", "get", WAYPOST_KEY=fresh["key"])
    assert refused.code == 3
    assert "The key comes from the variable WAYPOST_KEY." in refused.err


def test_login_keeps_a_key_that_the_platform_accepts(waypost, platform, tmp_path, signed_out):
    """Kept in a 0600 file where there is no keyring, which stderr says; then commands need nothing else."""
    place = platform.environment
    done = waypost(
        "login", "--url", platform.api_url, "--key-stdin", "-e", place, stdin=f"{platform.admin_key}\n", **signed_out
    )
    kept = ok(done)
    assert (kept["context"], kept["credential"], kept["url"]) == ("local", "file", platform.api_url)
    secrets = tmp_path / "credentials.toml"
    assert f"in {secrets}, which only you can read (this machine has no keyring)" in done.err
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert platform.admin_key not in done.out + done.err + (tmp_path / "config.toml").read_text()
    assert ok(waypost("env", "get", **signed_out))["slug"] == place.rpartition("/")[2]
    shown = ok(waypost("context", "show", **signed_out))
    assert (shown["context"], shown["credential"], shown["environment"]) == ("local", "file", place)
    out = waypost("logout", **signed_out)
    assert (out.code, "the key itself stays valid" in out.err) == (0, True)
    gone = waypost("env", "get", **signed_out)
    assert (gone.code, "waypost login" in gone.err) == (3, True)
    assert platform.admin_key not in secrets.read_text()


def test_login_keeps_the_key_in_the_keyring_of_the_system(platform, tmp_path):
    """Processes of their own and a fake backend: the secret is in the keyring and in no file; logout takes it out."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("WAYPOST_")} | {
        "PYTHONPATH": str(Path(__file__).parent),
        "PYTHON_KEYRING_BACKEND": "fake_keyring.FakeKeyring",
        "FAKE_KEYRING": str(tmp_path / "keyring.json"),
        "WAYPOST_CONFIG": str(tmp_path / "config.toml"),
    }

    def run(*arguments: str, stdin: str = "") -> Any:
        command = [sys.executable, "-P", "-m", "waypost_sdk.command.main", *arguments]
        return subprocess.run(  # noqa: S603 -- our own command
            command, input=stdin, capture_output=True, text=True, timeout=60, env=variables, check=False
        )

    done = run("login", "--url", platform.api_url, "--key-stdin", "-e", platform.environment, stdin=platform.admin_key)
    assert json.loads(done.stdout)["credential"] == "keyring"
    assert "kept in the system's keyring" in done.stderr
    assert list(json.loads((tmp_path / "keyring.json").read_text()).values()) == [platform.admin_key]
    assert [file.name for file in tmp_path.glob("*.toml")] == ["config.toml"]
    assert platform.admin_key not in (tmp_path / "config.toml").read_text()
    assert run("env", "get").returncode == 0
    assert run("logout").returncode == 0
    assert json.loads((tmp_path / "keyring.json").read_text()) == {}


def test_login_keeps_nothing_that_is_refused(waypost, platform, tmp_path, signed_out):
    """A mistyped key, a server that is away, an address that is none: codes 3, 9 and 2, and no file."""
    wrong = platform.admin_key[:-1] + ("a" if platform.admin_key[-1] != "a" else "b")
    login = ("--retry-seconds", "0", "login", "--key-stdin", "--url")
    refused = waypost(*login, platform.api_url, stdin=wrong, **signed_out)
    assert (refused.code, len(refused.err.splitlines())) == (3, 1)
    assert waypost(*login, "http://127.0.0.1:9", stdin=platform.admin_key, **signed_out).code == 9
    assert waypost(*login, "127.0.0.1:9", stdin=platform.admin_key, **signed_out).code == 2
    assert waypost("login", "--url", platform.api_url, **signed_out).code == 2  # nobody to ask
    assert waypost("login", "--key-stdin", "--local", stdin="x", **signed_out).code == 2
    assert not list(tmp_path.glob("*.toml"))


def test_login_local_takes_the_admin_key_of_a_data_folder(waypost, platform, signed_out):
    """Address and key come from what `waypost up` left there; the place from what the key sees."""
    kept = ok(waypost("login", "--local", "--data-dir", str(platform.data_dir), **signed_out))
    assert kept["url"] == platform.api_url
    assert ok(waypost("whoami", **signed_out))["kind"] == "organization_key"
    missing = waypost("login", "--local", "--data-dir", "/nonexistent", **signed_out)
    assert (missing.code, "admin-key cannot be read" in missing.err) == (2, True)


def test_contexts_live_side_by_side(waypost, platform, tmp_path, signed_out):
    """One logs in twice, switches by command, option and variable, and deletes one; comments in the file stay."""
    (tmp_path / "config.toml").write_text("# mine\n")
    key = ok(waypost("key", "create", "--name", "second", "--role", "viewer"))["key"]
    for context, secret in (("admin", platform.admin_key), ("looker", key)):
        login = ("login", "--url", platform.api_url, "--key-stdin", "--context", context, "-e", platform.environment)
        ok(waypost(*login, stdin=secret, **signed_out))
    kinds = {"admin": "organization_key", "looker": "environment_key"}
    assert ok(waypost("whoami", **signed_out))["kind"] == kinds["looker"]
    assert ok(waypost("--context", "admin", "whoami", **signed_out))["kind"] == kinds["admin"]
    assert waypost("context", "use", "admin", **signed_out).code == 0
    assert ok(waypost("whoami", **signed_out))["kind"] == kinds["admin"]
    assert ok(waypost("whoami", **signed_out | {"WAYPOST_CONTEXT": "looker"}))["kind"] == kinds["looker"]
    listed = ok(waypost("context", "list", **signed_out))
    assert [(entry["context"], entry["current"]) for entry in listed] == [("admin", True), ("looker", False)]
    assert waypost("context", "delete", "looker", "--yes", **signed_out).code == 0
    assert waypost("context", "use", "looker", **signed_out).code == 7
    assert (tmp_path / "config.toml").read_text().startswith("# mine\n")
    assert list(tomllib.loads((tmp_path / "credentials.toml").read_text())) == ["admin"]


def test_a_person_is_invited_signs_in_and_is_made_an_operator(waypost, platform, signed_out):
    """From the link to a session: whoami says why; another role counts at once; signing out ends the session."""
    email = f"{name('ada')}@example.com"
    assert waypost("invite", "create", email, "--role", "viewer", "--expires", "0m").code == 2  # not the default life
    invited = ok(waypost("invite", "create", email, "--role", "viewer", "--expires", "1h"))
    assert invited["id"] in [item["id"] for item in ok(waypost("invite", "list"))]
    accepted = ok(
        waypost(
            "invite",
            "accept",
            invited["link"],
            "--name",
            "Ada",
            "--password-stdin",
            stdin=PASSWORD + "\n",
            WAYPOST_KEY=None,
        )
    )
    assert (accepted["person"]["email"], accepted["role"]) == (email, "viewer")
    sign_in = ("login", "--url", platform.api_url, "--email", email, "--password-stdin", "--context", "ada")
    wrong = waypost(*sign_in, stdin="not the password\n", **signed_out)
    assert (wrong.code, "or the password is wrong" in wrong.err) == (3, True)
    kept = ok(waypost(*sign_in, "-e", platform.environment, stdin=PASSWORD + "\n", **signed_out))
    assert kept["who"] == email
    assert kept["expires_at"]
    me = ok(waypost("whoami", **signed_out))
    allowed = {entry["permission"]: entry["allowed"] for entry in me["permissions"]}
    assert (allowed["ViewEnvironment"], allowed["OperateEnvironment"]) == (True, False)
    assert waypost("jobs", "submit", "echo", **signed_out).code == 4
    (member,) = [entry for entry in ok(waypost("member", "list")) if entry["person"]["email"] == email]
    ok(waypost("member", "update", email, "--role", "operator"))
    assert waypost("jobs", "submit", "echo", **signed_out).code == 0
    assert member["role"] == "viewer"
    assert waypost("logout", **signed_out).code == 0
    assert waypost("whoami", **signed_out).code == 3
    assert waypost("member", "remove", email).code == 0
    assert waypost("member", "remove", email).code == 2
    unknown = waypost("member", "add", "nobody@example.com", "--role", "viewer")
    assert (unknown.code, "invite them" in unknown.err) == (2, True)


def test_a_role_in_a_project_replaces_that_of_the_organization(waypost):
    """A person with two memberships is named by id or by project; whoami's reason says which one counts."""
    email, project = f"{name('bo')}@example.com", name("p")
    made = ok(waypost("project", "create", "--name", project, "--slug", project))
    invited = ok(waypost("invite", "create", email, "--role", "viewer"))
    ok(waypost("invite", "accept", invited["token"], "--password-stdin", stdin=PASSWORD))
    added = ok(waypost("member", "add", email, "--role", "operator", "--project", project))
    assert added["project_id"] == made["id"]
    both = waypost("member", "update", email, "--role", "operator")
    assert (both.code, added["id"] in both.err) == (2, True)
    assert ok(waypost("member", "update", email, "--role", "project_admin", "--project", project))["id"] == added["id"]
    (listed,) = ok(waypost("member", "list", "--project", project))
    assert (listed["role"], listed["person"]["email"]) == ("project_admin", email)
    taken = ok(waypost("invite", "create", email, "--role", "viewer"))["id"]
    assert waypost("invite", "delete", taken).code == 0
    assert taken not in [item["id"] for item in ok(waypost("invite", "list"))]
