"""Write the API's types (src/api/schema.ts) for what the console calls, from our own OpenAPI description.

`python -P -m console.api_types` writes them, `--check` exits with 1 when they are not those of today's API. Only paths
that the sources name are described, so that what nobody calls here can change without a word here.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from console.build import CONSOLE, install, node

E = "/v1/orgs/{org}/projects/{project}/environments/{environment}"
SCHEMA = CONSOLE / "src" / "api" / "schema.ts"
_HEAD = "// Made by `make console-types` from the API's description: not to be edited.\n"
_NAMED = re.compile(r'`\$\{E\}([^`]*)`|"(/v1/[^"]*)"')
_WORDS = ("description", "summary", "x-permission")
_REFERENCE = "#/components/schemas/"


def used_paths() -> set[str]:
    """The API's paths that the sources name."""
    found = set()
    for path in (CONSOLE / "src").rglob("*.ts*"):
        if path != SCHEMA:
            for below, whole in _NAMED.findall(path.read_text()):
                found.add(whole or E + below)
    return found


def described(paths: set[str]) -> dict[str, Any]:
    """The API's description, of these paths and what they refer to."""
    from gateway import openapi
    from gateway.surface import ENDPOINTS

    whole = openapi.document(ENDPOINTS, "http://waypost.invalid")
    kept = _bare({path: operations for path, operations in whole["paths"].items() if path in paths})
    schemas = whole["components"]["schemas"]
    names, left = set(), list(_references(kept))
    while left:
        name = left.pop()
        if name not in names:
            names.add(name)
            left += _references(schemas[name])
    components = {name: schemas[name] for name in sorted(names)}
    return _bare({**whole, "paths": kept, "components": {"schemas": components}})


def _bare(value: Any) -> Any:
    """Without words, which are no types, and without refusals, which `Problem` reads: it changes when a shape does."""
    if isinstance(value, list):
        return [_bare(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _bare(inner) for name, inner in value.items() if not (name in _WORDS and isinstance(inner, str))}
    if isinstance(kept.get("responses"), dict):
        kept["responses"] = {status: answer for status, answer in kept["responses"].items() if status < "3"}
    return kept


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner.removeprefix(_REFERENCE)
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def made() -> str:
    """The text of schema.ts for today's API and sources."""
    install()
    description = CONSOLE / "node_modules" / ".openapi.json"
    description.write_text(json.dumps(described(used_paths())))
    return _HEAD + node("node_modules/openapi-typescript/bin/cli.js", str(description), capture=True)


def main() -> int:
    text = made()
    if "--check" in sys.argv:
        if SCHEMA.read_text() == text:
            return 0
        print("src/api/schema.ts is not today's API: run `make console-types`.", file=sys.stderr)  # noqa: T201
        return 1
    SCHEMA.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
