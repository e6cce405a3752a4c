"""The OpenAPI document is the contract: what it says is what the API does, for any request."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from starlette.testclient import TestClient

from filmgate.media.sources import VideoFile
from filmgate.models.registry import load_families
from filmgate.service.documents.task_forms import describe_fields, describe_task, find_path_fields
from filmgate.service.keys import KeyStore, Scope
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.registry import load_tasks
from filmgate.tasks.settings import field_names
from tests.service.api.helpers import JOB, open_app, read_problem

EXAMPLES = 40  # of each operation and kind: right by the schema, or wrong on purpose


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_request_is_answered_as_the_document_says(tmp_path: Path) -> None:
    """Status, media type, headers and form of each answer are those of the document; no 500.

    A document can be right by its schema and not fit its file, its model or another field: then it
    is refused with the pointer of the field, which other tests try. So that check is left out.
    """
    import schemathesis
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    checks = [check for name in CHECKS.get_all_names() if name != "positive_data_acceptance"
              for check in CHECKS.get_by_names([name])]  # fmt: skip
    key = KeyStore(tmp_path).add("ann", tuple(Scope), 1_000_000)[1]
    headers = {"Host": "localhost", "Authorization": f"Bearer {key}"}
    with open_app(tmp_path, max_waiting=100_000) as client:
        job_id = client.post("/v1/jobs", json=JOB, headers=headers).json()["metadata"]["id"]
        client.get(f"/v1/jobs/{job_id}", params={"wait": 20}, headers=headers)
        contract = schemathesis.openapi.from_asgi("/v1/openapi.json", client.app, headers=headers)
        operations: list[Any] = [result.ok() for result in contract.get_all_operations()]  # type: ignore[union-attr]  # an error has no `ok`
        assert len(operations) >= 17
        for operation in operations:
            for mode in schemathesis.GenerationMode:
                send_many(operation, mode, checks, headers, job_id)


def send_many(
    operation: Any, mode: Any, checks: list[Any], headers: dict[str, str], job_id: str
) -> None:
    """Send many requests of one operation, the same ones each time; some are of a real job."""

    @with_seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), is_real=st.booleans())
    def send(case: Any, is_real: bool) -> None:
        if is_real and mode.is_positive and "job_id" in (case.path_parameters or {}):
            case.path_parameters["job_id"] = job_id
        case.call_and_validate(checks=checks, headers=headers)

    with suppress(Unsatisfiable):  # nothing of such a request can be wrong
        send()


def test_the_document_describes_every_setting_of_every_task_and_model(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    schemas = document["components"]["schemas"]
    for name, task in load_tasks().items():
        properties = schemas[f"Task_{name}"]["properties"]
        assert set(field_names(task)) <= properties.keys()
        if issubclass(task, ModelTask):
            for family in load_families():
                if task.supports(family):
                    assert set(field_names(family.options)) <= properties.keys()
        for field, schema in properties.items():
            assert field == "task" or schema.get("description"), f"{name}: {field} has no text"
    text = str(document)
    assert "https://" not in text, "the document loads from, or points to, another host"


def test_each_form_fits_its_task(client: TestClient) -> None:
    """What a form gives as default is what the task has, and is taken by the API."""
    forms = client.get("/v1/tasks").json()
    upload = {"upload": client.post("/v1/uploads", content=b"a file").json()["id"]}
    for form in forms["tasks"]:
        needed = dict.fromkeys(form["needed_inputs"], upload)
        body = {**JOB, "tasks": [{"task": form["name"], **needed}]}
        assert client.post("/v1/plan", json=body).status_code == 200, form["name"]
        for name in needed:
            without = {**JOB, "tasks": [{"task": form["name"], **needed, name: None}]}
            refused = read_problem(client.post("/v1/plan", json=without), "bad-field")
            assert refused["pointer"] == f"/tasks/0/{name}"
        defaults = {k: v["default"] for k, v in form["properties"].items() if "default" in v}
        body["tasks"] = [{"task": form["name"], **defaults, **needed}]
        answer = client.post("/v1/plan", json=body)
        assert answer.status_code == 200, answer.text
    assert "max_pixels" not in forms["source"]
    assert "overwrite" not in forms["output"]["video"]


@dataclass(frozen=True)
class Plugin:
    """A task of another package, with settings of every kind."""

    driving: VideoFile | None = None
    """Another video."""

    table: Path | None = None
    factor: Fraction | int = 2
    names: tuple[str, ...] = ()
    count: int | None = None


def test_a_task_of_another_package_describes_itself() -> None:
    form: Any = describe_task("plugin", Plugin)  # type: ignore[arg-type]  # it has no methods
    assert form["inputs"] == ["driving"]
    assert find_path_fields(Plugin) == {"driving", "table"}
    described = describe_fields(Plugin)
    assert described.keys() == {field.name for field in fields(Plugin)}
    assert described["count"] == {"type": ["integer", "null"], "default": None}
    assert described["names"]["items"]["type"] == "string"
    assert described["factor"] == {"type": ["number", "string"], "format": "fraction", "default": 2}
    assert described["driving"]["description"] == "Another video."


def test_a_mistyped_parameter_is_refused(client: TestClient) -> None:
    answer = client.get("/v1/jobs", params={"limt": 5})
    assert (answer.status_code, "limit" in answer.json()["detail"]) == (400, True)
    assert client.get("/livez?x=1").status_code == 400
