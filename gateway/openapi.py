"""The OpenAPI 3.1 document, made from the endpoints' declarations, and a page that shows it.

The page loads nothing from anywhere: it is plain HTML made from the same document.
"""

from collections.abc import Iterable
from functools import lru_cache
from html import escape
from typing import Any

import msgspec

from gateway.endpoint import Call, Endpoint, endpoint
from gateway.exchange import Answer
from gateway.problem import TOKEN_PATHS
from gateway.session import COOKIE
from waypost import __version__
from waypost.errors import Problem

_PLACES = {
    "org": "An organization's id or slug.",
    "project": "A project's id or slug.",
    "environment": "An environment's id or slug.",
    "function": "A function's name.",
}


class ProblemDocument(msgspec.Struct):
    """RFC 9457, with our members: `code` is stable, `retryable` says whether the same request may be sent again."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    retryable: bool
    errors: list[Problem] = []


class OAuthError(msgspec.Struct):
    error: str
    error_description: str


_STATED = {
    400: "The body is not JSON.",
    401: "No credential, or one that is not valid.",
    403: "The credential lacks the permission; it is named.",
    404: "Nothing there, or another tenant's.",
    409: "The state of things does not allow it, or the Idempotency-Key belongs to another request.",
    412: "If-Match does not name the current ETag.",
    413: "The body is over 4 MiB, or a payload over 1 MiB.",
    422: "It can be read, but may not be; `errors` names each fault by JSON Pointer.",
    429: "The credential asks too often, or the queue is full.",
    503: "A server that is needed is away; the same request may be sent again.",
}


def document(endpoints: Iterable[Endpoint], public_url: str) -> dict[str, Any]:
    """The whole document."""
    shown = [declared for declared in endpoints if declared.path not in ("/docs", "/v1/openapi.json")]
    kinds: list[Any] = [ProblemDocument, OAuthError]
    kinds += [kind for declared in shown for kind in _kinds(declared)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    by_kind = dict(zip(map(repr, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for declared in shown:
        paths.setdefault(declared.path, {})[declared.method.lower()] = _operation(declared, by_kind)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Waypost",
            "version": __version__,
            "description": "Durable work, routed by tag to compute nodes that dial out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": public_url}],
        "security": [{"key": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`wp_…`, `wpe_…`) or session (`wps_…`).",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "A browser's session; every change carries X-CSRF-Token besides.",
                },
                "client": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "A node credential's client id and secret.",
                },
            },
        },
    }


def _kinds(declared: Endpoint) -> list[Any]:
    return [kind for kind in (declared.body, declared.answer, declared.also_answer) if kind is not None]


def _operation(declared: Endpoint, by_kind: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": declared.name,
        "summary": declared.summary,
        "tags": [_tag(declared.path)],
        "parameters": [*_path_parameters(declared), *_query_parameters(declared), *_header_parameters(declared)],
        "responses": _responses(declared, by_kind),
    }
    description = (declared.run.__doc__ or "").strip()
    if declared.permission is not None:
        description = f"{description}\n\nNeeds the permission `{declared.permission}`.".strip()
        operation["x-permission"] = declared.permission.value
    elif declared.personal:
        description = f"{description}\n\nAny valid credential will do: {declared.personal}.".strip()
    elif declared.path in TOKEN_PATHS:
        operation["security"] = [{"client": []}]
    else:
        operation["security"] = []
    operation["description"] = description
    if declared.body is not None:
        content: dict[str, Any] = {"schema": by_kind[repr(declared.body)]}
        if declared.example is not None:
            content["examples"] = {"example": {"value": declared.example}}
        operation["requestBody"] = {"required": _required(declared.body), "content": {declared.body_kind: content}}
    return operation


def _required(kind: Any) -> bool:
    """Whether an empty body would be refused."""
    try:
        return any(field.required for field in msgspec.structs.fields(kind))
    except TypeError:
        return True


def _tag(path: str) -> str:
    words = [word for word in path.split("/") if word and not word.startswith("{")]
    known = (
        "jobs",
        "events",
        "functions",
        "queue",
        "nodes",
        "node-credentials",
        "keys",
        "sessions",
        "invitations",
        "people",
    )
    named = [word for word in words if word in known]
    return named[0] if named else "tenancy" if "orgs" in words else "service"


def _path_parameters(declared: Endpoint) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PLACES.get(name, f"The {name}'s id."),
            "schema": {"type": "string"} if name in _PLACES else {"type": "string", "format": "uuid"},
        }
        for name in declared.parameters
    ]


def _query_parameters(declared: Endpoint) -> list[dict[str, Any]]:
    found = []
    for parameter in declared.query:
        schema: dict[str, Any] = {"type": {int: "integer", float: "number"}.get(parameter.kind, "string")}
        name = f"{parameter.name}KEY" if parameter.name.endswith(".") else parameter.name  # a family: label.KEY=VALUE
        if parameter.repeatable:
            schema = {"type": "array", "items": schema}
        found.append({"name": name, "in": "query", "description": parameter.meaning, "schema": schema})
    return found


def _header_parameters(declared: Endpoint) -> list[dict[str, Any]]:
    found = []
    if declared.idempotent:
        text = "1 to 255 characters; the same key and body answer the first result again for 24 h."
        schema = {"type": "string", "minLength": 1, "maxLength": 255}
        found.append({"name": "Idempotency-Key", "in": "header", "description": text, "schema": schema})
    if declared.matched:
        text = "The ETag of what is to be changed; 412 when it has changed since."
        found.append({"name": "If-Match", "in": "header", "description": text, "schema": {"type": "string"}})
    return found


def _responses(declared: Endpoint, by_kind: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": declared.summary}
    if declared.answer is not None:
        answer["content"] = {declared.kind: {"schema": by_kind[repr(declared.answer)]}}
    elif declared.status != 204:
        answer["content"] = {declared.kind: {"schema": {"type": "string"}}}
    responses = {str(declared.status): answer}
    for status, meaning in declared.also.items():
        responses[str(status)] = {**answer, "description": meaning}
        if declared.also_answer is not None:
            responses[str(status)]["content"] = {declared.kind: {"schema": by_kind[repr(declared.also_answer)]}}
    if declared.path in TOKEN_PATHS:
        schema, kind = by_kind[repr(OAuthError)], "application/json"
    else:
        schema, kind = by_kind[repr(ProblemDocument)], "application/problem+json"
    for status in _failures(declared):
        responses[str(status)] = {"description": _STATED[status], "content": {kind: {"schema": schema}}}
    return responses


def _failures(declared: Endpoint) -> list[int]:
    failures = {503}
    if declared.permission is not None:
        failures |= {401, 403, 404, 422, 429}
    if declared.personal:
        failures |= {401, 422, 429}
    if declared.body is not None:
        failures |= {400, 413, 422}
    if declared.idempotent or declared.method == "POST":
        failures |= {409}
    if declared.matched:
        failures |= {412}
    if declared.path in TOKEN_PATHS:
        failures = {400, 401, 429, 503}
    return sorted(failures)


# --- the two endpoints ------------------------------------------------------------------------------------------------


@endpoint("GET", "/v1/openapi.json", summary="This API as OpenAPI 3.1", public="the description of the API")
async def openapi_json(call: Call) -> Answer:
    return Answer(200, call.services.openapi(), [(b"cache-control", b"public, max-age=300")])


@endpoint("GET", "/docs", summary="This API as a page", public="the description of the API", kind="text/html")
async def docs(call: Call) -> Answer:
    policy = b"default-src 'none'; style-src 'unsafe-inline'"
    return Answer(
        200, _page(call.services.openapi()), [(b"content-security-policy", policy)], b"text/html; charset=utf-8"
    )


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d7de; } details { margin: .5rem 0; padding: .4rem .6rem; }
summary { cursor: pointer; } code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f6f8fa; }
pre { padding: .6rem; overflow: auto; } b { display: inline-block; min-width: 4.5rem; } .d { color: #57606a; }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #e6edf3; } code, pre { background: #161b22; } }
"""


@lru_cache(maxsize=2)
def _page(text: bytes) -> bytes:
    whole = msgspec.json.decode(text)
    groups: dict[str, list[str]] = {}
    for path, operations in whole["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(_section(method, path, operation))
    body = "".join(f"<h2>{escape(name)}</h2>{''.join(sections)}" for name, sections in sorted(groups.items()))
    head = f"<h1>Waypost {escape(whole['info']['version'])}</h1><p>{escape(whole['info']['description'])} "
    head += 'The whole document is <a href="/v1/openapi.json">/v1/openapi.json</a>.</p>'
    return f"<!doctype html><html lang=en><title>Waypost API</title><style>{_STYLE}</style>{head}{body}</html>".encode()


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{escape(p['name'])}</code> ({p['in']}) {escape(p['description'])}</li>"
        for p in operation["parameters"]
    )
    answers = "".join(
        f"<li><code>{status}</code> {escape(answer['description'])}</li>"
        for status, answer in operation["responses"].items()
    )
    example = ""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for shown in content.get("examples", {}).values():
            example = f"<pre>{escape(msgspec.json.format(msgspec.json.encode(shown['value'])).decode())}</pre>"
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"<span class=d>{escape(operation['summary'])}</span></summary>"
        f"<p>{escape(operation['description'])}</p><ul>{parameters}</ul>{example}<ul>{answers}</ul></details>"
    )


ENDPOINTS: list[Endpoint] = [openapi_json, docs]
