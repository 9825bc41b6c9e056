"""The OpenAPI document is valid and complete, and agrees with the answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed

from projections.executions.columns import FIELDS
from tests.support.api_client import Catalog, ok
from tests.support.declared import DOCUMENT
from tests.support.examples import at_most
from tests.support.operations import OPERATIONS
from tests.support.running_server import AUTHORIZED, Serving

MODERATELY = at_most(
    12,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


# The server draws random delays in a thread of this process, possibly while an example is drawn.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("name", [row.name for row in OPERATIONS])
def test_every_generated_request_is_answered_as_documented(
    name: str, server: Serving, catalog: Catalog
) -> None:
    from tests.support.generated_requests import can_be_wrong, requests, require_documented

    right, wrong = requests(name, wrong=False), requests(name, wrong=True)

    @seed(20261122)
    @MODERATELY
    @given(right | wrong if can_be_wrong(name) else right)
    def answered(case: Any) -> None:
        require_documented(case, server.url, {**AUTHORIZED, "Prefer": "wait=0"})

    answered()


def test_document_is_valid_openapi() -> None:
    from openapi_spec_validator import validate

    validate(DOCUMENT)


def test_document_is_served_without_a_token_and_describes_every_operation(
    server: Serving,
) -> None:
    served = ok(httpx.get(f"{server.url}/openapi.json"))
    described = {
        (method.upper(), path, row["operationId"])
        for path, methods in served["paths"].items()
        for method, row in methods.items()
    }
    assert described == {(row.method, row.path, row.name) for row in OPERATIONS}


def test_every_problem_code_has_a_page(api: httpx.Client) -> None:
    for code in ("invalid", "illegal-transition", "not-yet-visible"):
        assert ok(api.get(f"/problems/{code}"))["code"] == code


def test_bounds_are_standard_keywords_of_json_schema() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    progress = schemas["UpdateProgress"]["properties"]["progress"]
    assert (progress["type"], progress["minimum"], progress["maximum"]) == ("number", 0, 100)
    assert schemas["RetryPolicy"]["properties"]["maxRetries"]["maximum"] == 100
    assert schemas["CreateExecution"]["properties"]["timeout"]["default"] == 3_600_000


@pytest.mark.parametrize(
    ("model", "type_"),
    [
        ("CreateExecution", "ServiceExecution"),
        ("ForkExecution", "ServiceExecution"),
        ("CreateUser", "User"),
        ("CreateWebhook", "Webhook"),
        ("PlaceHold", "LegalHold"),
    ],
)
def test_type_of_a_created_resource_is_that_of_its_kind(model: str, type_: str) -> None:
    properties = DOCUMENT["components"]["schemas"][model]["properties"]
    assert properties["$type"] == {"enum": [type_, None]}
    assert ("$id" in properties) is (model != "CreateWebhook")


def test_guide_names_the_commands_without_dry_run() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    [named] = re.findall(r"The others take no `dryRun`(.*?)\n- ", guide, re.DOTALL)
    known = set(re.findall(r"`(?:[^`]*/)?(\w+)`", named)) | {"find", "confirm"}
    without = {
        row.path.rpartition("/")[2] if row.method != "DELETE" else "DELETE"
        for row in OPERATIONS
        if row.method != "GET" and not any(each.name == "dryRun" for each in row.parameters)
    }
    assert without == known - {"preview"}


def test_path_parameter_is_not_required_in_the_body() -> None:
    schema = DOCUMENT["components"]["schemas"]["CompleteStep"]
    assert "step" not in schema["properties"]
    assert "step" not in schema["required"]


def test_filter_of_find_names_every_field_that_can_be_filtered_by() -> None:
    body = DOCUMENT["paths"]["/executions/find"]["post"]["requestBody"]
    [filter_, _] = body["content"]["application/json"]["schema"]["anyOf"]
    named = set(re.findall(r"[$\w.]+", filter_["description"]))
    assert {*FIELDS, "tags", "metadata."} <= named
