"""The log id is sent with each cursor, and checked when a client resumes."""

from __future__ import annotations

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from domain.eventlog.migrations import migrate_log
from domain.eventlog.setup.log_id import log_id, renew_log_id
from tests.support.api_client import Executions, ok, refused
from tests.support.running_server import Serving, serving
from tests.support.sse_client import opened, until_caught_up
from tests.support.stream_consumers import socket

SSE = {"Accept": "text/event-stream"}


def test_log_id_stays_the_same_after_a_restart(database: str) -> None:
    made = log_id(database, "executions")
    assert len(made) == 36
    migrate_log(database, "executions")
    assert log_id(database, "executions") == made


def test_other_log_has_another_id(database: str) -> None:
    migrate_log(database, "other")
    assert log_id(database, "other") != log_id(database, "executions")


def test_restored_log_has_another_id(database: str) -> None:
    before = log_id(database, "executions")
    renewed = renew_log_id(database, "executions")
    assert renewed == log_id(database, "executions") != before


def test_answers_and_caught_up_frames_have_the_log_id(
    server: Serving, api: httpx.Client, executions: Executions, queued_execution: str
) -> None:
    listed = api.get("/executions")
    assert (listed.headers["log-id"], "log-position" in listed.headers) == (server.log_id, True)
    for path in ("/events", "/executions/watch", f"/executions/{queued_execution}/logs"):
        with opened(api, path) as source:
            assert source.response.headers["log-id"] == server.log_id
            assert until_caught_up(source)[-1].data["log"] == server.log_id
    with socket(server, "/events") as stream:
        assert stream.response is not None
        assert stream.response.headers["log-id"] == server.log_id


@pytest.mark.parametrize("path", ["/events", "/executions/watch", "/executions/{id}/events"])
def test_cursor_of_another_log_is_refused(
    server: Serving, api: httpx.Client, queued_execution: str, path: str
) -> None:
    path = path.format(id=queued_execution)
    query = {"from": "start", "log": "of the backup"}
    received = refused(api.get(path, params=query, headers=SSE), 410, "other-log")
    assert received["log"] == server.log_id
    with pytest.raises(InvalidStatus) as refusal, socket(server, path, **query):
        pass
    assert refusal.value.response.status_code == 410


def test_cursor_of_log_lines_of_another_log_is_refused(
    api: httpx.Client, queued_execution: str
) -> None:
    path = f"/executions/{queued_execution}/logs"
    refused(api.get(path, params={"log": "other"}, headers=SSE), 410, "other-log")


def test_cursor_of_this_log_is_accepted_with_and_without_its_id(
    server: Serving, api: httpx.Client, queued_execution: str
) -> None:
    for query in ({"log": server.log_id}, {}):
        with opened(api, after=1, **query) as source:
            assert until_caught_up(source)[0].id == "2"


def test_cursor_is_refused_after_the_log_was_restored(database: str) -> None:
    with serving(database) as before, before.client() as api, opened(api) as source:
        mine = until_caught_up(source)[-1].data["log"]
    renew_log_id(database, "executions")
    with serving(database) as after, after.client() as api:
        refused(api.get("/events", params={"log": mine}, headers=SSE), 410, "other-log")
        ok(api.get("/executions"))
