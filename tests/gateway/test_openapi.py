"""The API's description: complete, valid, and true of real answers."""

from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis

from gateway.openapi import document
from gateway.surface import ENDPOINTS
from tests.gateway.person_ground import sign_in

DOCUMENT = document(ENDPOINTS, "http://localhost")


def references(value: Any) -> set[str]:
    """Every `$ref` below."""
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def schema(part: Any) -> Any:
    """A schema of the document with the components that it refers to."""
    return part | {"components": DOCUMENT["components"]}


def test_it_is_openapi_3_1_and_holds_every_route() -> None:
    """Each operation has a permission or none needed, an id of its own, and answers; all references lead somewhere."""
    assert DOCUMENT["openapi"] == "3.1.0"
    components = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert references(DOCUMENT) <= components
    operations = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len(operations) == len(ENDPOINTS) - 2  # the document and its page describe themselves
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        assert "x-permission" in operation or "security" in operation or "Any valid" in operation["description"]
        assert all("description" in answer for answer in operation["responses"].values())


def test_schedules_and_dry_runs_have_shapes_of_their_own() -> None:
    """What a client generates types from says what a schedule is, and what a dry run answers."""
    schemas = DOCUMENT["components"]["schemas"]
    for kind in ("NewTrigger", "TriggerChange", "TriggerPreview", "TriggerView"):
        assert "#/components/schemas/Timing" in references(schemas[kind]["properties"]["schedule"]), kind
    (path,) = [path for path in DOCUMENT["paths"] if path.endswith("/jobs/replay")]
    answers = DOCUMENT["paths"][path]["post"]["responses"]
    assert references(answers["200"]) == {"#/components/schemas/ReplayPreview"}
    assert references(answers["202"]) == {"#/components/schemas/BulkReplayView"}


def test_schemathesis_can_drive_it() -> None:
    """Its loader accepts the document and finds every operation valid."""
    loaded = schemathesis.openapi.from_dict(DOCUMENT)
    found = list(loaded.get_all_operations())
    assert all(hasattr(result, "ok") for result in found)
    assert {result.ok().label for result in found} >= {
        "POST /v1/orgs/{org}/projects/{project}/environments/{environment}/jobs"
    }


@pytest.mark.parametrize("declared", [d for d in ENDPOINTS if d.example is not None], ids=lambda d: d.name)
def test_examples_fit_their_schemas(declared: Any) -> None:
    """What is shown would be accepted."""
    body = DOCUMENT["paths"][declared.path][declared.method.lower()]["requestBody"]["content"][declared.body_kind]
    jsonschema_rs.validate(schema(body["schema"]), body["examples"]["example"]["value"])


async def test_real_answers_fit_the_description(
    client: httpx.AsyncClient, shared_environment: Any, platform: Any
) -> None:
    """Read by read, and errors too; what is a person's own by one who signed in."""
    person = await sign_in(platform)
    made = await client.post(f"{shared_environment.path}/jobs", json={"function": "open.api", "payload": {"n": 1}})
    organization, project, environment = shared_environment.place.split("/")
    named = {"org": organization, "project": project, "environment": environment, "job": made.json()["id"]}
    for declared in ENDPOINTS:
        if declared.method != "GET" or declared.answer is None or declared.kind != "application/json":
            continue
        if set(declared.parameters) - set(named):
            continue
        query = f"?environment={shared_environment.id}" if declared.path.endswith("jwks.json") else ""
        own = declared.path.startswith(("/v1/sessions", "/v1/people"))
        answer = await client.get(declared.path.format_map(named) + query, headers=person.headers if own else {})
        assert answer.status_code == 200, (declared.path, answer.text)
        described = DOCUMENT["paths"][declared.path]["get"]["responses"]["200"]["content"]["application/json"]
        jsonschema_rs.validate(schema(described["schema"]), answer.json())
    refused = await client.post(f"{shared_environment.path}/jobs", json={"nope": 1})
    problem = DOCUMENT["paths"][ENDPOINTS[0].path]["post"]["responses"]["422"]["content"]["application/problem+json"]
    jsonschema_rs.validate(schema(problem["schema"]), refused.json())


async def test_the_document_and_its_page_are_served_and_load_nothing(platform: Any) -> None:
    """Without a credential; the page names no other host."""
    async with httpx.AsyncClient(base_url=platform.api_url, timeout=30) as anonymous:
        served = (await anonymous.get("/v1/openapi.json")).json()
        assert set(served["paths"]) == set(DOCUMENT["paths"])
        page = await anonymous.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in page.text
    assert 'src="http' not in page.text
