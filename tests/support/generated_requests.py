"""Requests that schemathesis makes from the OpenAPI document, and checks of their answers.

Importing this takes a second: only the test that needs it imports it, not every process of the tests.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.declared import DOCUMENT

# A too large request is a refusal, too; 504 means that the data has not reached `minPosition`.
REFUSALS = ["4xx", "503", "504"]
CONFIG = schemathesis.Config.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}
)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
DESCRIBED = {
    operation.definition.raw["operationId"]: operation
    for found in SCHEMA.get_all_operations()
    if isinstance(found, Ok)
    for operation in (found.ok(),)
}
"""By the name of the operation."""
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
# Each command has an answer of its own: an invalid one does not fail the call.
ANSWERED_ONE_BY_ONE = "sendCommands"


def can_be_wrong(name: str) -> bool:
    """Whether the document forbids anything in a request of the operation."""
    return bool(DESCRIBED[name].body or DESCRIBED[name].query)


def requests(name: str, *, wrong: bool) -> SearchStrategy[Case[Any]]:
    """Requests of an operation that are valid by the document, or invalid ones."""
    mode = GenerationMode.NEGATIVE if wrong else GenerationMode.POSITIVE
    return DESCRIBED[name].as_strategy(generation_mode=mode)


def require_documented(case: Case[Any], url: str, headers: dict[str, str]) -> None:
    """Send a request. Raises if its answer is an error of the server or not documented."""
    response = case.call(base_url=url, headers=headers, timeout=20)
    assert not_a_mistake(response), response.text
    one_by_one = case.operation.definition.raw["operationId"] == ANSWERED_ONE_BY_ONE
    case.validate_response(response, checks=CHECKS[:-1] if one_by_one else CHECKS)


def not_a_mistake(response: Response) -> bool:
    """504 means that the data has not reached `minPosition`: no error of the server."""
    return response.status_code < 500 or response.status_code == 504
