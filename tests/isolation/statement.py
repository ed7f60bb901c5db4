"""Every SQL text of the project that names a table of the control schema, found by walking it.

`.sql` files beside the code, and the strings of every module: constants with the value that they have at run time, and
whatever else stands in the code. A text that is put together where it is used must be in `BUILT`.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from storage.postgres.ledger import record
from storage.postgres.ledger.listing import page_of
from storage.postgres.replay import replay
from storage.postgres.sql import load
from storage.postgres.usage import roll_up as usage
from storage.postgres.usage import verify as usage_verify
from waypost.job.model import JobState
from waypost.job.record import JobFilter

ROOT = Path(__file__).parents[2]
PACKAGES = ("storage", "jobs", "functions", "gateway", "relay")
_VERBS = "select|insert|update|delete|with|merge|table|values|copy|truncate|lock"
_STATEMENT = re.compile(rf"\s*(--[^\n]*\n\s*)*({_VERBS})\b", re.IGNORECASE)
_ID = UUID(int=7 << 76 | 2 << 62)
_FILLED = JobFilter(states=tuple(JobState), functions=("f",), trigger_ids=(_ID,), labels={"a": ["b"]})

_LEDGER = ("job", "job_label", "job_end", "job_log", "attempt", "ready", "due", "hold", "permit", "lease", "route")

# Statements of several pieces: the place where they stand → what runs there.
BUILT: dict[str, list[str]] = {
    "storage/postgres/ledger/job_record.sql": [
        record._GIVEN + load("storage.postgres.ledger", "job_record"),
        page_of(_FILLED, 10, _ID)[0] + load("storage.postgres.ledger", "job_record"),
    ],
    "storage/postgres/ledger/listing.py:page_of": [
        page_of(_FILLED, 10, _ID, few_wait=few_wait)[0] + "select * from page, (select $1::uuid, $2::bool)"
        for few_wait in (True, False)
    ],
    "storage/postgres/replay/chosen.sql": [
        page_of(_FILLED, 10, _ID)[0] + load("storage.postgres.replay", "chosen"),
        replay._GIVEN + load("storage.postgres.replay", "chosen"),
    ],
    "storage/postgres/audit/entry.py:insert_audit": ["insert into control.audit (id) values ($1)"],
    "storage/postgres/audit/listing.py:list_entries": ["select * from control.audit where organization_id = $1"],
    "storage/postgres/backup/snapshot.py:count_rows": ["select count(*) from control.job"],
    "storage/postgres/backup/snapshot.py:_kek_ids": [
        "select distinct kek_id from control.environment_secret where kek_id is not null"
    ],
    "storage/postgres/environment/removal.py:count_removed": [
        "update control.environment_removal set started_at = now() where environment_id = $1"
    ],
    "storage/postgres/environment/rows.py:delete_rows": [
        "delete from control.route where ctid = any (array(select ctid from control.route where environment_id = $1))"
    ],
    "storage/postgres/environment/rows.py:leftovers": ["select id from control.environment"],
    "storage/postgres/environment/rows.py:count_rows": [
        f"select '{table}' as name, count(*) as rows from control.{table} where environment_id = $1"
        for table in _LEDGER
    ],
    "storage/postgres/environment/rows.py:_delete_along_key": [
        f"delete from control.{table} where environment_id = $1" for table in _LEDGER
    ],
    "storage/postgres/usage/add.sql": [usage.statement()],
    "storage/postgres/usage/verify.sql": [usage_verify.statement()],
    "storage/postgres/tenancy/kek.py:rewrap_batch": ["update control.environment_secret set sealed = $1"],
}


def texts() -> Iterator[tuple[str, str]]:
    """(where, text) of every single statement."""
    for where, text in _texts():
        for single in re.sub(r"--[^\n]*", "", text).split(";"):
            if single.strip():
                yield where, single


def _texts() -> Iterator[tuple[str, str]]:
    """(where, text); migrations, and what runs once a cluster or once a schema, are left out."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.sql")):
            if "migrations" not in path.parts and path.name not in ("cluster.sql", "snapshot.sql"):
                yield from _or_built(str(path.relative_to(ROOT)), path.read_text())
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts and path.name != "__main__.py":
                yield from _of_module(path)


def _or_built(where: str, text: str) -> Iterator[tuple[str, str]]:
    yield from ((where, built) for built in BUILT.get(where, [text]))


def _of_module(path: Path) -> Iterator[tuple[str, str]]:
    """Constants by their values, the strings of functions as they are written."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    tree = ast.parse(path.read_text())
    if "control." in path.read_text():
        for constant, value in vars(importlib.import_module(name)).items():
            if any(_assigns(node, constant) for node in tree.body):
                for text in filter(_is_statement, _strings(value)):
                    yield f"{path.relative_to(ROOT)}:{constant}", text
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _of_code(path, node)


def _strings(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else [value]


def _assigns(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _of_code(path: Path, code: ast.AST) -> Iterator[tuple[str, str]]:
    joined = {id(part) for node in ast.walk(code) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(code):
        where = f"{path.relative_to(ROOT)}:{getattr(code, 'name', '')}"
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            if _is_statement(text):
                yield from _or_built(where, text)
        elif isinstance(node, ast.Constant) and id(node) not in joined and _is_statement(node.value):
            yield where, str(node.value)


def _is_statement(value: object) -> bool:
    if not isinstance(value, str) or _STATEMENT.match(value) is None:
        return False
    return "control." in re.sub(r"'[^']*'", "", value)
