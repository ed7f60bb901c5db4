"""Every SQL text of the project, found by walking it: `.sql` files beside the code, and string constants of modules."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("storage", "jobs", "functions", "gateway", "relay", "infra")
_VERB = re.compile(
    r"\s*(--[^\n]*\n\s*)*(select|insert|update|delete|with|merge|table|values|notify|copy|truncate)\b", re.IGNORECASE
)


def texts() -> Iterator[tuple[str, str]]:
    """(where, text) of every statement; migrations and what runs once a cluster are left out."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.sql")):
            if "migrations" not in path.parts and path.name not in ("cluster.sql", "snapshot.sql"):
                yield str(path.relative_to(ROOT)), path.read_text()
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield from _constants(path)


def _constants(path: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text())
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        else:
            continue
        if (_VERB.match(text) and "control." in text) or re.match(r"\s*(notify)\b|.*pg_notify", text, re.IGNORECASE):
            yield f"{path.relative_to(ROOT)}:{node.lineno}", text
