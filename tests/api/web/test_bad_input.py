"""Whatever is sent, the answer is a problem document that tells what is wrong, and nothing happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.web.body import MIB
from api.web.operation import Operation
from tests.support.api_client import JSON, Executions, refused
from tests.support.operation_examples import BODIES, WITH_BODY, path_of
from tests.support.operations import OPERATIONS
from tests.support.running_server import Serving
from tests.support.stream_consumers import past

MALFORMED = {
    "truncated": b'{"reason": ',
    "no JSON": b"hello",
    "two values": b"{} {}",
    "invalid UTF-8": b'{"reason": "\xff\xfe"}',
    "a lone surrogate": rb'{"reason": "\ud800"}',
    "not a number": b'{"progress": NaN}',
    "not a number beside a long one": b'{"metadata": {"a": NaN, "b": 1234567890123456789}}',
    "infinity": b'{"progress": -Infinity}',
}
WRONG = {
    "null": b"null",
    "a number": b"1",
    "a list": b"[[]]",
    "text": b'"text"',
    "an unknown member": b'{"nonsense": 1}',
    "an operator that is none": b'{"$nonsense": 1}',
    "a number beyond everything": b'{"nonsense": 1e400}',
    "a whole number beyond 64 bits": b'{"nonsense": 18446744073709551616123}',
    "brackets without end": b"[" * 100_000,
    "100 000 levels": b"[" * 100_000 + b"]" * 100_000,
    "100 000 levels of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}
VALUES: dict[str, Any] = {
    "null": None,
    "a number": -7,
    "a whole number beyond 64 bits": 2**64,
    "a fraction": 0.5,
    "text with NUL": "a\0b",
    "no text": "",
    "text without end": "x" * 300_000,
    "a list": [[], {}],
    "an object with NUL": {"a\0": {"b": "\0"}},
    "our own mark": {"$sealed": "AAAA", "$secret": "BBBB"},
}
QUERIES = {
    "NUL": "%00",
    "invalid UTF-8": "%FF%FE",
    "half an escape": "%",
    "a number beyond 64 bits": "9" * 40,
    "a negative number": "-1",
    "a number that is none": "NaN",
    "very long": "x" * 20_000,
    "digits of another script": "%D9%A3",
    "a bracket": "[$gte",
}
FORMS = [
    pytest.param(operation, form, id=f"{operation.name}-{form}")
    for operation in OPERATIONS
    for form in (operation.media_type, *operation.answer_forms)
]
ANY_FORM = {"Accept": "text/event-stream, */*", "Prefer": "wait=0"}
IDS = {
    "NUL": "%00",
    "invalid UTF-8": "%FF",
    "very long": "x" * 20_000,
    "a slash": "a%2Fb",
    "a space": "a%20b",
    "dots": "%2e%2e",
    "umlauts": "%C3%A4",
}


# Each of many commands is answered by itself: a wrong one spoils no call.
OF_ONE_SHAPE = [operation for operation in WITH_BODY if operation.name != "sendCommands"]
WITH_PROGRESS = [
    operation
    for operation in WITH_BODY
    if operation.name in {"createExecution", "update", "updateProgress"}
]
OF_SOMETHING = [operation for operation in OPERATIONS if "{" in operation.path]


def names(operation: Operation) -> str:
    return operation.name


def send(api: httpx.Client, operation: Operation, body: bytes | Iterator[bytes]) -> httpx.Response:
    return api.request(
        operation.method,
        path_of(operation),
        content=body,
        headers={"Content-Type": "application/json"},
    )


def is_problem(response: httpx.Response) -> bool:
    """A refusal in the one form there is, and no mistake of the server's."""
    problem = refused(response, response.status_code, response.json()["type"].split("/")[-1])
    return 400 <= int(problem["status"]) < 500


@pytest.fixture(scope="module")
def execution(executions: Executions) -> str:
    return executions.running()


@pytest.fixture
def nothing_happens(server: Serving, api: httpx.Client, execution: str) -> Iterator[None]:
    """The log has no event of a client afterwards that it did not have before.

    Some executions of the module have timers and leases, which the system sees to meanwhile.
    """
    before = api.get("/readyz").json()["position"]
    yield
    if api.get("/readyz").json()["position"] != before:
        happened = past(server, "/events", **{"from": before})
        assert [event for event in happened if event["actor"] != "system"] == []


def test_every_operation_with_a_body_has_an_example() -> None:
    assert {operation.name for operation in WITH_BODY} == BODIES.keys()


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("operation", WITH_BODY, ids=names)
def test_body_that_is_not_json_is_refused(api: httpx.Client, operation: Operation) -> None:
    for kind, body in MALFORMED.items():
        response = send(api, operation, body)
        assert is_problem(response), kind
        assert response.status_code in {400, 422}, kind


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("operation", OF_ONE_SHAPE, ids=names)
def test_body_of_another_shape_is_refused(api: httpx.Client, operation: Operation) -> None:
    for kind, body in WRONG.items():
        response = send(api, operation, body)
        assert is_problem(response), kind
        assert response.status_code == 422 or "beyond everything" in kind, kind


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("operation", WITH_PROGRESS, ids=names)
@pytest.mark.parametrize("progress", [101, -1, 100.5, "45", True, []])
def test_invalid_progress_gives_a_single_error(
    api: httpx.Client, operation: Operation, progress: Any
) -> None:
    body = json.dumps(BODIES[operation.name] | {"progress": progress}).encode()
    problem = refused(send(api, operation, body), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == ["progress"]


@pytest.mark.parametrize("operation", WITH_BODY, ids=names)
def test_no_member_value_causes_a_500(api: httpx.Client, operation: Operation) -> None:
    for kind, body in spoilt(BODIES[operation.name]):
        response = send(api, operation, json.dumps(body).encode())
        assert response.is_success or is_problem(response), kind
        if operation.name == "sendCommands" and response.is_success:
            assert response.json()[0]["status"] < 500, kind


def spoilt(body: Any) -> Iterator[tuple[str, Any]]:
    """The good body with one member at a time, at any depth, replaced by what it cannot be."""
    members = body.items() if isinstance(body, dict) else enumerate(body)
    for name, value in list(members):
        for kind, wrong in VALUES.items():
            yield f"{name}: {kind}", replaced(body, name, wrong)
        if isinstance(value, dict | list):
            for kind, inner in spoilt(value):
                yield f"{name}.{kind}", replaced(body, name, inner)


def replaced(body: Any, name: Any, value: Any) -> Any:
    copy = body.copy()
    copy[name] = value
    return copy


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("operation", WITH_BODY, ids=names)
def test_body_that_is_too_large_is_refused_with_and_without_its_length(
    api: httpx.Client, operation: Operation
) -> None:
    part = b" " * (MIB // 4)
    parts = operation.body_limit // len(part) + 1
    received = refused(send(api, operation, part * parts), 413, "too-large")
    assert received["limit"] == operation.body_limit
    refused(send(api, operation, (part for _ in range(parts))), 413, "too-large")


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("operation", WITH_BODY, ids=names)
@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "nonsense", ""])
def test_body_of_another_media_type_is_refused(
    api: httpx.Client, operation: Operation, media_type: str
) -> None:
    response = api.request(
        operation.method,
        path_of(operation),
        content=b"{}",
        headers={"Content-Type": media_type},
    )
    refused(response, 415, "unsupported-media-type")


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("operation", OF_SOMETHING, ids=names)
def test_no_id_in_a_path_causes_a_500(api: httpx.Client, operation: Operation) -> None:
    body = json.dumps(BODIES.get(operation.name)).encode() if operation.body else None
    for kind, identity in IDS.items():
        path = path_of(operation, identity)
        for sample in ("s-1", "invalid", "/tile/0"):
            path = path.replace(sample, sample[: sample.rfind("/") + 1] + identity)
        headers = {"Content-Type": "application/json", "Prefer": "wait=0"}
        response = api.request(operation.method, path, content=body, headers=headers)
        assert is_problem(response), kind


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("operation", OPERATIONS, ids=names)
def test_no_query_string_causes_a_500(
    api: httpx.Client, operation: Operation, execution: str
) -> None:
    for parameter in operation.parameters:
        for kind, value in QUERIES.items():
            once = f"{parameter.name}={value}"
            for query in (once, f"{once}&{once}"):
                path = f"{path_of(operation, execution)}?{query}"
                with api.stream(operation.method, path, headers=ANY_FORM) as response:
                    if response.is_success:
                        continue  # perhaps a stream: it would never end
                    response.read()
                assert response.status_code < 500 or response.status_code == 504, (query, kind)
                assert refusal(response), (query, kind)


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize(("operation", "form"), FORMS)
def test_parameter_that_an_operation_does_not_know_is_named(
    api: httpx.Client, execution: str, operation: Operation, form: str
) -> None:
    known = "&".join(f"{item.name}=1" for item in operation.parameters if item.required)
    problem = refused(
        api.request(
            operation.method,
            f"{path_of(operation, execution)}?{known}&nonsense=1",
            json=BODIES.get(operation.name),
            headers={"Accept": form},
        ),
        422,
        "invalid",
    )
    assert [error["path"] for error in problem["errors"]] == ["nonsense"]


def refusal(response: httpx.Response) -> JSON:
    code = response.json()["type"].split("/")[-1]
    return refused(response, response.status_code, code)


def test_unknown_path_is_not_found(api: httpx.Client) -> None:
    for path in ("/nonsense", "/executions/a/b/c", "/executions/", "/x//", "/api/executions"):
        refused(api.get(path), 404, "not-found")


@pytest.mark.parametrize("path", sorted({operation.path for operation in OPERATIONS}))
def test_wrong_method_is_answered_405_with_the_allowed_ones(api: httpx.Client, path: str) -> None:
    taken = {operation.method for operation in OPERATIONS if operation.path == path}
    taken |= {"HEAD"} if "GET" in taken else set()
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} - taken:
        response = api.request(method, path)
        refused(response, 405, "method-not-allowed")
        assert response.headers["allow"] == ", ".join(sorted(taken))
