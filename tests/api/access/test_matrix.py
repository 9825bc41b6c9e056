"""Each role calls each operation, for objects in its scope and outside it: those outside are answered as if absent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, islice
from typing import Any, NamedTuple

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from api.access.rights import COMMANDS, ROLES, Right, Role
from api.web.operation import Operation
from api.web.streams.stream_request import STREAM_OPERATIONS
from tests.support.api_client import JSON, ok
from tests.support.operation_examples import BODIES, path_of
from tests.support.operations import OPERATIONS
from tests.support.owned_world import (
    CALLERS,
    GRANTED,
    OF_CUSTOMER,
    OF_PROVIDER,
    REACHED,
    SAMPLES,
    STRANGE,
    Sample,
    client_of,
    headers_of,
)
from tests.support.ownership import OWNERSHIP, Of
from tests.support.running_server import Serving
from tests.support.sse_client import opened, until_caught_up
from tests.support.stream_consumers import read_until_closed, socket
from tests.support.stream_consumers import until_caught_up as read_until_caught_up

LIMITED = tuple(role for role in Role if role is not Role.ADMIN)
PARTIES = (Role.CUSTOMER, Role.PROVIDER)
NONE = Sample("nowhere", 1)
"""Ids of objects that do not exist."""
QUERIES: dict[str, dict[str, str]] = {
    "diff": {"from": "1", "to": "2"},
    "compare": {"with": OF_CUSTOMER.execution},
    "proveInclusion": {"position": "1"},
    "proveConsistency": {"from": "1"},
}
IN_QUERY = {"readTrail": "execution"}
"""Operations with the id of their subject in the query."""
UNEQUAL = {"connection", "content-length", "date", "x-correlation-id", "log-position"}
"""Headers that do not depend on the subject."""
SSE = {"Accept": "text/event-stream"}
KEYS = count()
"""Idempotency keys: each is used once."""
Clients = dict[Role, httpx.Client]


class Made(NamedTuple):
    """Ids of a job, a hold, a key and a webhook of the log that the administrator made, and of the grant."""

    job: str
    hold: str
    key: str
    webhook: str
    grant: str

    def at(self, path: str) -> str:
        """The id that belongs in a path."""
        return {"/jobs": self.job, "/holds": self.hold, "/keys": self.key}[path.partition("/{")[0]]


def of(*kinds: Of) -> list[Operation]:
    return [operation for operation in OPERATIONS if OWNERSHIP.get(operation.name) in kinds]


def name_of(value: object) -> str:
    return value.name if isinstance(value, Operation) else str(value)


cells = pytest.mark.parametrize("role", LIMITED)


@pytest.fixture(scope="module")
def clients(owned: Serving) -> Iterator[Clients]:
    """A client of each role. After the tests, the versions of the executions must be unchanged."""
    made = {role: client_of(owned, role) for role in Role}
    before = versions(made[Role.ADMIN])
    yield made
    assert versions(made[Role.ADMIN]) == before
    for client in made.values():
        client.close()


def versions(admin: httpx.Client) -> dict[str, int]:
    ids = [sample.execution for sample in SAMPLES]
    return {id_: ok(admin.get(f"/executions/{id_}"))["version"] for id_ in ids}


@pytest.fixture(scope="module")
def made(clients: Clients) -> Made:
    admin = clients[Role.ADMIN]
    bulk = {"command": "retry", "filter": {"customer": STRANGE.customer}}
    hold = {"customer": STRANGE.customer, "reason": f"About {STRANGE.word}"}
    key = {"role": "customer", "party": STRANGE.customer}
    hook = {"url": f"http://127.0.0.1:9/{STRANGE.word}", "events": ["*"]}
    [grant] = ok(admin.get("/grants"))["data"]
    return Made(
        ok(admin.post("/executions/bulk", json=bulk))["$id"],
        ok(admin.post("/holds", json=hold))["$id"],
        ok(admin.post("/keys", json=key))["$id"],
        ok(admin.post("/webhooks", json=hook))["$id"],
        grant["$id"],
    )


@pytest.fixture(scope="module")
def hooks(clients: Clients) -> dict[Sample, str]:
    admin = clients[Role.ADMIN]
    found = {s: admin.get(f"/executions/{s.execution}/webhooks").json() for s in SAMPLES}
    return {sample: webhooks[0]["id"] for sample, webhooks in found.items()}


Answered = tuple[int, str, list[tuple[str, str]]]
OF_ABSENT: dict[tuple[int, Role, str, str, int | None], list[Answered]] = {}


# --- requests


def ask(
    client: httpx.Client,
    operation: Operation,
    identity: str,
    query: JSON | None = None,
    **more: Any,
) -> httpx.Response:
    """The answer; for a stream, its beginning."""
    named_in = {IN_QUERY[operation.name]: identity} if operation.name in IN_QUERY else {}
    query = {**QUERIES.get(operation.name, {}), **named_in, **(query or {})}
    body = {"json": BODIES[operation.name]} if operation.body is not None else {}
    request = client.build_request(
        operation.method, path_of(operation, identity), params=query, **{**body, **more}
    )
    stream = "text/event-stream" in request.headers.get("accept", "")
    answer = client.send(request, stream=stream)
    if stream and not answer.is_success:
        answer.read()
    return answer


def has_dry_run(operation: Operation) -> bool:
    return any(parameter.name == "dryRun" for parameter in operation.parameters)


def harmless(operation: Operation) -> JSON:
    """The query by which a request changes nothing."""
    return {"dryRun": "true"} if has_dry_run(operation) else {}


def variants(operation: Operation) -> Iterator[tuple[JSON, dict[str, Any]]]:
    """Variants of a request for a hidden object: a query, and other parts of the request."""
    yield {}, {}
    if has_dry_run(operation):
        yield harmless(operation), {}
    yield {"nonsense": "1"}, {}
    yield {"minPosition": "1", "version": "1"}, {"headers": {"If-Match": '"99"'}}
    yield {"minPosition": "1", "at": "2026-01-01T00:00:00Z"}, {"headers": SSE}
    if operation.body is not None:
        yield {}, {"json": {"nonsense": 1}}
        yield {}, {"headers": {"Idempotency-Key": f"matrix-{next(KEYS)}"}}


def without_id(answer: httpx.Response, identity: str) -> Answered:
    """Everything in an answer, without the requested id."""
    headers = [(k, v) for k, v in sorted(answer.headers.items()) if k not in UNEQUAL]
    return answer.status_code, answer.text.replace(identity, "…"), headers


def hidden_in(written: bytes, role: Role, *, public: bool = False) -> list[bytes]:
    """The marks of objects outside the scope of a role that are in an answer."""
    hidden = [sample for sample in SAMPLES if sample not in REACHED[role]]
    marks = [mark for s in hidden for mark in (s.marks[:1] if public else s.marks)]
    return [mark for mark in marks if mark in written]


def require_concealed(
    clients: Clients,
    role: Role,
    operation: Operation,
    alien: str,
    absent: str,
    *,
    ways: int | None = None,
) -> None:
    """Require that an object outside the scope is answered like an absent one, in all or in so many variants."""
    allowed = operation.right in ROLES[role]
    expected = answers_of_absent(clients, role, operation, absent, ways)
    asked = islice(variants(operation), ways)
    for (query, more), of_absent in zip(asked, expected, strict=True):
        answer = ask(clients[role], operation, alien, query, **more)
        assert without_id(answer, alien) == of_absent, (query, more)
        assert answer.status_code >= 400
        if not query and not more:
            assert answer.status_code == (404 if allowed else 403), answer.text
        shown = answer.content.replace(alien.encode(), b"")
        assert hidden_in(shown, role) == []


def ways_of(sample: Sample) -> int | None:
    """The number of variants for an object of a sample: all for one sample, one for the others."""
    return None if sample is STRANGE else 1


def answers_of_absent(
    clients: Clients, role: Role, operation: Operation, absent: str, ways: int | None
) -> list[Answered]:
    """The answers to a role about an absent object, in so many variants; cached."""
    key = id(clients), role, operation.name, absent, ways
    if key not in OF_ABSENT:
        OF_ABSENT[key] = [
            without_id(ask(clients[role], operation, absent, query, **more), absent)
            for query, more in islice(variants(operation), ways)
        ]
    return OF_ABSENT[key]


# --- roles and operations


def test_every_operation_has_a_row_in_the_table_of_ownership() -> None:
    assert OWNERSHIP.keys() == {operation.name for operation in OPERATIONS}


@cells
@pytest.mark.parametrize("operation", of(Of.EXECUTION, Of.BEHIND), ids=name_of)
def test_execution_is_visible_only_to_callers_that_reach_it(
    clients: Clients, role: Role, operation: Operation
) -> None:
    if operation.right not in ROLES[role]:
        require_concealed(clients, role, operation, STRANGE.execution, NONE.execution, ways=3)
        return
    require_concealed(clients, role, operation, STRANGE.execution, NONE.execution)
    for sample in SAMPLES:
        if sample not in REACHED[role]:
            require_concealed(clients, role, operation, sample.execution, NONE.execution, ways=1)
            continue
        headers = SSE if operation.name in STREAM_OPERATIONS else {}
        more = {**harmless(operation), "with": sample.execution}
        query = {name: value for name, value in more.items() if takes(operation, name)}
        answers = [
            ask(clients[who], operation, sample.execution, query, headers=headers)
            for who in (role, Role.ADMIN)
        ]
        if OWNERSHIP[operation.name] is Of.BEHIND and role in (Role.ASSIGNEE, Role.AUDITOR):
            assert answers[0].status_code == 404
        else:
            assert answers[0].status_code == answers[1].status_code < 500
            assert answers[0].status_code not in (401, 403), answers[0].text
        if not headers:
            assert hidden_in(answers[0].content, role) == []
        for answer in answers:
            answer.close()


def takes(operation: Operation, name: str) -> bool:
    return any(parameter.name == name for parameter in operation.parameters)


@cells
def test_execution_is_compared_only_with_those_that_the_caller_reaches(
    clients: Clients, role: Role
) -> None:
    for own in REACHED[role]:
        path = f"/executions/{own.execution}/compare"
        answers = [
            without_id(clients[role].get(path, params={"with": other}), other)
            for other in (STRANGE.execution, NONE.execution)
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404


@cells
@pytest.mark.parametrize("operation", of(Of.ORDER), ids=name_of)
def test_order_is_visible_only_to_its_parties(
    clients: Clients, role: Role, operation: Operation
) -> None:
    for sample in SAMPLES:
        if role not in PARTIES or sample not in REACHED[role]:
            require_concealed(
                clients, role, operation, sample.order, NONE.order, ways=ways_of(sample)
            )
        elif operation.right in ROLES[role]:
            answer = ask(clients[role], operation, sample.order, harmless(operation))
            assert answer.status_code in (200, 409)
            assert hidden_in(answer.content, role) == []


@cells
@pytest.mark.parametrize("operation", of(Of.USER), ids=name_of)
def test_user_is_visible_only_to_itself(clients: Clients, role: Role, operation: Operation) -> None:
    own = {Role.CUSTOMER: OF_CUSTOMER.customer, Role.PROVIDER: OF_PROVIDER.provider}.get(role)
    for sample in SAMPLES:
        for user in (sample.customer, sample.provider):
            if user == own and operation.right in ROLES[role]:
                ok(ask(clients[role], operation, user))
            else:
                require_concealed(clients, role, operation, user, "nobody", ways=ways_of(sample))


@cells
@pytest.mark.parametrize("operation", of(Of.WEBHOOK), ids=name_of)
def test_webhook_is_visible_only_to_callers_that_reach_its_execution(
    clients: Clients, hooks: dict[Sample, str], made: Made, role: Role, operation: Operation
) -> None:
    for sample, webhook in hooks.items():
        if sample not in REACHED[role] or operation.right not in ROLES[role]:
            require_concealed(clients, role, operation, webhook, "wh_none", ways=ways_of(sample))
            continue
        answer = ask(clients[role], operation, webhook)
        assert answer.status_code == ask(clients[Role.ADMIN], operation, webhook).status_code != 403
        assert hidden_in(answer.content, role) == []
    require_concealed(clients, role, operation, made.webhook, "wh_none")


@cells
@pytest.mark.parametrize("operation", of(Of.MADE), ids=name_of)
def test_job_hold_and_key_are_visible_only_to_the_administrator(
    clients: Clients, made: Made, role: Role, operation: Operation
) -> None:
    identity = made.at(operation.path)
    require_concealed(clients, role, operation, identity, f"{identity[:-1]}x")


@cells
@pytest.mark.parametrize("operation", of(Of.GRANT), ids=name_of)
def test_grant_is_visible_only_to_its_auditor(
    clients: Clients, made: Made, role: Role, operation: Operation
) -> None:
    if role is Role.AUDITOR and operation.right in ROLES[role]:
        shown = ok(ask(clients[role], operation, made.grant))
        assert shown["executions"] == [GRANTED.execution]
    else:
        require_concealed(clients, role, operation, made.grant, f"{made.grant[:-1]}x")


# --- lists, analytics, streams


def facets() -> str:
    return "customer,provider,order,service,status,tags,assignee.id,priority"


def lists(sample: Sample) -> list[JSON]:
    """Queries of a list of executions that look for a sample."""
    return [
        {"customer": sample.customer},
        {"provider": sample.provider},
        {"order": sample.order},
        {"$id": sample.execution},
        {"tag": f"tag-{sample.word}"},
        {"assignee.id": sample.person},
        {"metadata.about": sample.word},
        {"metrics.tokensUsed": str(sample.number)},
    ]


WHOLE: dict[str, list[JSON]] = {
    "listExecutions": [
        {"limit": "500", "count": "true", "facets": facets()},
        {"limit": "1", "count": "true", "sort": "-metrics.tokensUsed"},
        {"expand": "order,service,customer,provider"},
        {"at": "2099-01-01T00:00:00Z", "count": "true"},
        {"fields": "order,customer,metrics", "profile": "array"},
        {"status[ne]": "failed", "count": "true", "facets": facets()},
    ],
    "analyseExecutions": [
        {"by": key}
        for key in ("customer", "service", "assignee", "model", "status", "hour", "step", "day")
    ],
    "exportExecutions": [{}, {"status[ne]": "failed"}],
    "exportDocuments": [{}, {"status[ne]": "failed"}],
    "inbox": [{}, {"limit": "1"}],
    "bulkExecutions": [{}],
    **{
        f"list{kind}": [{}]
        for kind in ("Jobs", "Orders", "Users", "Holds", "Grants", "Webhooks", "Keys")
    },
}
WHOLE["findExecutions"] = WHOLE["listExecutions"][:5]
WHOLE["analyseExecutionsToo"] = WHOLE["analyseExecutions"]
BODY_OF_MANY: dict[str, Callable[[JSON], JSON]] = {
    "findExecutions": lambda wanted: wanted,
    "bulkExecutions": lambda wanted: {"command": "cancel", "filter": wanted, "preview": True},
}
MANY = [operation for operation in of(Of.MANY) if operation.name not in STREAM_OPERATIONS]
LISTS = {"listExecutions", "findExecutions"}
SHOWN = {*LISTS, "exportExecutions", "exportDocuments"}


@cells
@pytest.mark.parametrize("operation", MANY, ids=name_of)
def test_lists_and_analytics_show_only_executions_that_the_caller_reaches(
    clients: Clients, made: Made, role: Role, operation: Operation
) -> None:
    up_to_date(clients)
    wanted = BODY_OF_MANY.get(operation.name, dict)({})
    for query in WHOLE[operation.name]:
        answer = clients[role].request(
            operation.method, operation.path, params=query, **body(operation, wanted)
        )
        assert answer.status_code == (200 if operation.right in ROLES[role] else 403), answer.text
        written = answer.content + str(answer.headers).encode()
        assert hidden_in(written, role) == []
        assert made.job.encode() not in written
        if operation.name in SHOWN and answer.is_success:
            assert all(sample.marks[1] in written for sample in REACHED[role])
            assert int(answer.headers.get("total-count", "1")) == 1
        elif "analytics" in operation.path and answer.is_success:
            assert answer.json()["total"] == 1


@cells
@pytest.mark.parametrize("operation", MANY, ids=name_of)
def test_search_finds_a_name_only_if_the_caller_reaches_it(
    clients: Clients, role: Role, operation: Operation
) -> None:
    if operation.name not in BODY_OF_MANY.keys() | SHOWN:
        return
    counting = {"count": "true"} if operation.name in LISTS else {}
    allowed = operation.right in ROLES[role]

    def comparable(asked: JSON) -> Answered:
        [(name, value)] = asked.items()
        if name == "metrics.tokensUsed" and operation.body is not None:
            asked = {name: int(value)}  # numbers in JSON
        answer = clients[role].request(
            operation.method,
            operation.path,
            params=counting | (asked if operation.body is None else {}),
            **body(operation, BODY_OF_MANY.get(operation.name, dict)(asked)),
        )
        return without_id(answer, str(value))

    of_absent = [comparable(asked) for asked in lists(NONE)]
    for sample in (*REACHED[role], STRANGE):
        for wanted, absent in zip(lists(sample), of_absent, strict=True):
            found = comparable(wanted) != absent
            assert found is (allowed and sample in REACHED[role]), wanted


def up_to_date(clients: Clients) -> None:
    admin = clients[Role.ADMIN]
    position = str(ok(admin.get("/readyz"))["position"])
    for path in ("/executions", "/analytics/executions", "/orders"):
        ok(admin.get(path, params={"minPosition": position}))


def body(operation: Operation, wanted: JSON) -> dict[str, Any]:
    return {} if operation.body is None else {"json": wanted}


def test_administrator_sees_the_marks_of_all_samples(clients: Clients, made: Made) -> None:
    """The marks that the other tests search for are in the answers."""
    up_to_date(clients)
    admin = clients[Role.ADMIN]
    shown = admin.get("/executions", params={"limit": "500", "facets": facets()})
    assert all(mark in shown.content for sample in SAMPLES for mark in sample.marks)
    assert shown.json()["facets"]["customer"]["values"]
    assert ok(admin.get("/analytics/executions"))["total"] == len(SAMPLES)
    assert made.job in admin.get("/jobs").text
    for path in ("/orders", "/users", "/holds", "/webhooks", "/inbox"):
        assert STRANGE.word in admin.get(path).text, path


STREAMS = [operation for operation in OPERATIONS if operation.name in STREAM_OPERATIONS]


@cells
@pytest.mark.parametrize("operation", STREAMS, ids=name_of)
def test_stream_shows_only_executions_that_the_caller_reaches(
    owned: Serving, clients: Clients, role: Role, operation: Operation
) -> None:
    ids = [""] if "{id}" not in operation.path else [sample.execution for sample in SAMPLES]
    reached = {"", *(sample.execution for sample in REACHED[role])}
    for identity in ids:
        path = path_of(operation, identity)
        allowed = operation.right in ROLES[role] and identity in reached
        for read in (by_sse, by_socket):
            written = read(owned, clients, role, path)
            assert (written is not None) is allowed
            if written is not None:
                assert hidden_in(written, role) == []
                assert any(sample.marks[0] in written for sample in REACHED[role])


def by_sse(owned: Serving, clients: Clients, role: Role, path: str) -> bytes | None:
    with suppress(AssertionError), opened(clients[role], path, **{"from": "start"}) as source:
        return json.dumps([frame.data for frame in until_caught_up(source)]).encode()
    return None


def by_socket(owned: Serving, clients: Clients, role: Role, path: str) -> bytes | None:
    with (
        suppress(InvalidStatus),
        socket(owned, path, headers_of(role), **{"from": "start"}) as opened_,
    ):
        return json.dumps(read_until_caught_up(read_until_closed(opened_))).encode()
    return None


# --- creations, and operations without an owner


def creations(sample: Sample) -> dict[str, Any]:
    """Bodies that refer to an object of a sample, by operation."""
    batch = [{"command": "start", "execution": sample.execution}]
    expires = {"expiresAt": "2099-01-01T00:00:00Z", "auditor": "someone", "purpose": "Audit"}
    return {
        "createExecution": {"order": sample.order, "service": OF_PROVIDER.service},
        "sendCommands": batch,
        "createGrant": {**expires, "executions": [sample.execution]},
        "claimExecution": {"worker": "w", "assignee": sample.person},
    }


@cells
@pytest.mark.parametrize("operation", of(Of.NEW), ids=name_of)
def test_creation_needs_its_right_and_shows_nothing_of_the_objects_it_refers_to(
    clients: Clients, role: Role, operation: Operation
) -> None:
    allowed = operation.right in ROLES[role]
    if operation.name not in creations(STRANGE):
        given = BODIES[operation.name]
        answer = ask(clients[role], operation, "", harmless(operation), json=given)
        assert (answer.status_code == 403) is not allowed or answer.status_code == 403
        assert hidden_in(answer.content, role) == []
        return
    answers = []
    for sample in (STRANGE, NONE):
        given = creations(sample)[operation.name]
        answer = clients[role].post(operation.path, json=given)
        answers.append((answer.status_code, answer.text.replace(sample.word, "…")))
        assert (answer.status_code == 403) is not allowed
        assert hidden_in(answer.content.replace(STRANGE.word.encode(), b""), role) == []
    assert answers[0] == answers[1]


@cells
@pytest.mark.parametrize("operation", of(Of.ALL), ids=name_of)
def test_operation_without_an_owner_needs_its_right_and_shows_no_sample(
    clients: Clients, role: Role, operation: Operation
) -> None:
    identity = STRANGE.service if "services" in operation.path else "none"
    answer = ask(clients[role], operation, identity)
    assert (answer.status_code == 403) is (operation.right not in ROLES[role])
    assert hidden_in(answer.content, role, public="services" in operation.path) == []


def test_command_needs_the_right_in_its_row() -> None:
    for operation in OPERATIONS:
        name = {"updatePartly": "update", "createExecution": "create"}.get(operation.name)
        right = COMMANDS.get(name or operation.name)
        begins = operation.name == "startSession"  # its body contains the token
        assert begins or right in (None, operation.right), operation.name


def test_callers_of_the_matrix_have_each_role_once() -> None:
    assert CALLERS.keys() == set(LIMITED)
    assert {right for role in Role for right in ROLES[role]} == set(Right)
