"""Requests that schemathesis makes of the OpenAPI document, and checks of their answers.

To import this takes a second: only the test that needs it does, and not every process of the tests.
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

# Too large is a refusal, too; and 504 says that the data is not as far as `minPosition`.
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
# Each command is answered by itself: a wrong one spoils its own answer, not the call.
ANSWERED_ONE_BY_ONE = "sendCommands"


def can_be_wrong(name: str) -> bool:
    """Whether there is something in a request of the operation that the document rules out."""
    return bool(DESCRIBED[name].body or DESCRIBED[name].query)


def requests(name: str, *, wrong: bool) -> SearchStrategy[Case[Any]]:
    """Requests of an operation that the document allows, or those that it rules out."""
    mode = GenerationMode.NEGATIVE if wrong else GenerationMode.POSITIVE
    return DESCRIBED[name].as_strategy(generation_mode=mode)


def require_documented(case: Case[Any], url: str, headers: dict[str, str]) -> None:
    """Send a request. Raises where its answer is a mistake of the server's or not what the document says."""
    response = case.call(base_url=url, headers=headers, timeout=20)
    assert not_a_mistake(response), response.text
    one_by_one = case.operation.definition.raw["operationId"] == ANSWERED_ONE_BY_ONE
    case.validate_response(response, checks=CHECKS[:-1] if one_by_one else CHECKS)


def not_a_mistake(response: Response) -> bool:
    """504 says that the data is not as far as `minPosition`: no mistake of the server's."""
    return response.status_code < 500 or response.status_code == 504
