"""Every invalid request is answered with a problem document, and records nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any, TypeVar

import httpx
import pytest

from api.web.body import MIB
from api.web.operation import Operation
from tests.support.api_client import JSON, Executions, refused
from tests.support.operation_examples import BODIES, WITH_BODY, path_of
from tests.support.operations import OPERATIONS
from tests.support.running_server import Serving
from tests.support.stream_consumers import past

T = TypeVar("T")
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
BY_MODEL = ("null", "an unknown member")
"""Bodies that the model of each operation refuses; the other malformed bodies fail alike for all operations."""
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
MEDIA_TYPES = ("text/plain", "application/xml", "nonsense", "")
FORMS = [
    (operation, form)
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


# A batch answers each command by itself: an invalid command does not fail the request.
OF_ONE_SHAPE = [operation for operation in WITH_BODY if operation.name != "sendCommands"]
WITH_PROGRESS = [
    operation
    for operation in WITH_BODY
    if operation.name in {"createExecution", "update", "updateProgress"}
]
OF_SOMETHING = [operation for operation in OPERATIONS if "{" in operation.path]


def pair_in_turn(
    subjects: Iterable[T], kinds: Iterable[str], each: int = 1
) -> Iterator[tuple[T, str]]:
    """Pair each subject with some of the kinds, the next subject with the next kinds.

    The same code refuses requests of all operations, so that not every pair needs a test.
    """
    turns = cycle(kinds)
    for subject in subjects:
        for kind in islice(turns, each):
            yield subject, kind


def send(api: httpx.Client, operation: Operation, body: bytes | Iterator[bytes]) -> httpx.Response:
    return api.request(
        operation.method,
        path_of(operation),
        content=body,
        headers={"Content-Type": "application/json"},
    )


def is_problem(response: httpx.Response) -> bool:
    """Whether the answer is a valid problem document with a status 4xx."""
    problem = refused(response, response.status_code, response.json()["type"].split("/")[-1])
    return 400 <= int(problem["status"]) < 500


@pytest.fixture(scope="module")
def execution(executions: Executions) -> str:
    return executions.running()


@pytest.fixture
def nothing_happens(server: Serving, api: httpx.Client, execution: str) -> Iterator[None]:
    """The log has no new event of a client after the test.

    The system itself may record events meanwhile, for timers and leases of other executions of the module.
    """
    before = api.get("/readyz").json()["position"]
    yield
    if api.get("/readyz").json()["position"] != before:
        happened = past(server, "/events", **{"from": before})
        assert [event for event in happened if event["actor"] != "system"] == []


def test_every_operation_with_a_body_has_an_example() -> None:
    assert {operation.name for operation in WITH_BODY} == BODIES.keys()


@pytest.mark.usefixtures("nothing_happens")
def test_body_that_is_not_json_is_refused(api: httpx.Client) -> None:
    for operation, kind in pair_in_turn(WITH_BODY, MALFORMED, each=2):
        response = send(api, operation, MALFORMED[kind])
        assert is_problem(response), (operation.name, kind)
        assert response.status_code in {400, 422}, (operation.name, kind)


@pytest.mark.usefixtures("nothing_happens")
def test_body_of_another_shape_is_refused(api: httpx.Client) -> None:
    by_model = [(operation, kind) for operation in OF_ONE_SHAPE for kind in BY_MODEL]
    for operation, kind in [*by_model, *pair_in_turn(OF_ONE_SHAPE, WRONG)]:
        response = send(api, operation, WRONG[kind])
        assert is_problem(response), (operation.name, kind)
        too_large = "beyond everything" in kind
        assert response.status_code == 422 or too_large, (operation.name, kind)


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("progress", [101, -1, 100.5, "45", True, []])
def test_invalid_progress_gives_a_single_error(api: httpx.Client, progress: Any) -> None:
    for operation in WITH_PROGRESS:
        body = json.dumps(BODIES[operation.name] | {"progress": progress}).encode()
        problem = refused(send(api, operation, body), 422, "invalid")
        assert [error["path"] for error in problem["errors"]] == ["progress"], operation.name


def test_no_member_value_causes_a_500(api: httpx.Client) -> None:
    seen = set[int]()
    places = [
        (operation, place)
        for operation in WITH_BODY
        for place in places_in(BODIES[operation.name], seen)
    ]
    stored = [(each, "text with NUL") for each in places]  # which PostgreSQL refuses in text
    for (operation, place), kind in [*stored, *pair_in_turn(places, VALUES, each=3)]:
        body = replace_at(BODIES[operation.name], place, VALUES[kind])
        response = send(api, operation, json.dumps(body).encode())
        assert response.is_success or is_problem(response), (operation.name, place, kind)
        if operation.name == "sendCommands" and response.is_success:
            assert response.json()[0]["status"] < 500, (place, kind)


def places_in(body: Any, seen: set[int]) -> Iterator[tuple[Any, ...]]:
    """The paths of the members of a body, at any depth; members of a part that several bodies share are given once."""
    members = body.items() if isinstance(body, dict) else enumerate(body)
    for name, value in members:
        yield (name,)
        if isinstance(value, dict | list) and id(value) not in seen:
            seen.add(id(value))
            yield from ((name, *inner) for inner in places_in(value, seen))


def replace_at(body: Any, place: Sequence[Any], value: Any) -> Any:
    """The body with another value at a path."""
    name, *inner = place
    copy = body.copy()
    copy[name] = replace_at(body[name], inner, value) if inner else value
    return copy


@pytest.mark.usefixtures("nothing_happens")
def test_body_that_is_too_large_is_refused_with_and_without_its_length(api: httpx.Client) -> None:
    part, counted = b" " * (MIB // 4), set[int]()
    for operation in WITH_BODY:
        parts = operation.body_limit // len(part) + 1
        received = refused(send(api, operation, part * parts), 413, "too-large")
        assert received["limit"] == operation.body_limit
        if operation.body_limit not in counted:
            counted.add(operation.body_limit)
            refused(send(api, operation, (part for _ in range(parts))), 413, "too-large")


@pytest.mark.usefixtures("nothing_happens")
def test_body_of_another_media_type_is_refused(api: httpx.Client) -> None:
    for operation, media_type in pair_in_turn(WITH_BODY, MEDIA_TYPES):
        headers = {"Content-Type": media_type}
        path = path_of(operation)
        response = api.request(operation.method, path, content=b"{}", headers=headers)
        refused(response, 415, "unsupported-media-type")


@pytest.mark.usefixtures("nothing_happens")
def test_no_id_in_a_path_causes_a_500(api: httpx.Client) -> None:
    headers = {"Content-Type": "application/json", "Prefer": "wait=0"}
    for operation, kind in pair_in_turn(OF_SOMETHING, IDS, each=2):
        body = json.dumps(BODIES.get(operation.name)).encode() if operation.body else None
        path = path_of(operation, IDS[kind])
        for sample in ("s-1", "invalid", "/tile/0"):
            path = path.replace(sample, sample[: sample.rfind("/") + 1] + IDS[kind])
        response = api.request(operation.method, path, content=body, headers=headers)
        assert is_problem(response), (operation.name, kind)


def queries() -> dict[str, list[str]]:
    """For each operation, values of all kinds for each parameter, or of one kind if another operation has had it
    before; and one repeated parameter.
    """
    found, turns, seen = dict[str, list[str]](), cycle(QUERIES.values()), set[tuple[str, str]]()
    for operation in OPERATIONS:
        of_it = found[operation.name] = []
        for name, description, *_ in operation.parameters:
            known = (name, description) in seen
            of_it += [f"{name}={each}" for each in ([next(turns)] if known else QUERIES.values())]
            of_it.append(f"{of_it[-1]}&{of_it[-1]}")
            seen.add((name, description))
    return found


SENT = queries()


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.parameters], ids=lambda each: each.name
)
def test_no_query_string_causes_a_500(
    api: httpx.Client, execution: str, operation: Operation
) -> None:
    for query in SENT[operation.name]:
        path = f"{path_of(operation, execution)}?{query}"
        with api.stream(operation.method, path, headers=ANY_FORM) as response:
            if response.is_success:
                continue  # a stream may be open: it would never end
            response.read()
        assert response.status_code < 500 or response.status_code == 504, path
        assert refusal(response), path


@pytest.mark.usefixtures("nothing_happens")
def test_unknown_parameter_of_an_operation_is_named_in_the_refusal(
    api: httpx.Client, execution: str
) -> None:
    for operation, form in FORMS:
        known = "&".join(f"{item.name}=1" for item in operation.parameters if item.required)
        response = api.request(
            operation.method,
            f"{path_of(operation, execution)}?{known}&nonsense=1",
            json=BODIES.get(operation.name),
            headers={"Accept": form},
        )
        problem = refused(response, 422, "invalid")
        assert [error["path"] for error in problem["errors"]] == ["nonsense"], operation.name


def refusal(response: httpx.Response) -> JSON:
    code = response.json()["type"].split("/")[-1]
    return refused(response, response.status_code, code)


def test_unknown_path_is_not_found(api: httpx.Client) -> None:
    for path in ("/nonsense", "/executions/a/b/c", "/executions/", "/x//", "/api/executions"):
        refused(api.get(path), 404, "not-found")


def test_wrong_method_is_answered_405_with_the_allowed_ones(api: httpx.Client) -> None:
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
    for path, method in pair_in_turn(sorted({row.path for row in OPERATIONS}), methods, each=2):
        taken = {operation.method for operation in OPERATIONS if operation.path == path}
        taken |= {"HEAD"} if "GET" in taken else set()
        if method not in taken:
            response = api.request(method, path)
            refused(response, 405, "method-not-allowed")
            assert response.headers["allow"] == ", ".join(sorted(taken)), path
