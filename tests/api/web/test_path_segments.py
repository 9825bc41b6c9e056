"""A step with any name is addressed by its encoded name in the path."""

from __future__ import annotations

from itertools import cycle
from urllib.parse import quote

import httpx
import pytest

from api.web.path_segments import decode_path
from api.web.routing import PREFIX
from tests.support.api_client import ok, refused

NAMES = (
    "W_Completeren aanvraag#3",
    "a/b",
    "a/complete",
    "/",
    "a//b/",
    "x/../y",
    "../..",
    "...",
    "a%2Fb",
    "a%252fb",
    "100%",
    "%",
    "a?b=c&d",
    "a+b;c:d@e,f=g$h!i*j'k(l)",
    "start",
    "[$gte]",
    '\\ "quoted" <tag> `x` {y} |z| ^~',
    "Prüfung der Anträge",
    "日本/語",
    "🚀",
    "x" * 255,
    "/" * 255,
)


def test_webhook_of_an_earlier_build_is_looked_up_by_both_parts_of_its_id(
    api: httpx.Client,
) -> None:
    document = refused(api.get("/webhooks/run-1%2Fwh-1/deliveries"), 404, "not-found")
    assert "an id is" not in document["detail"]


@pytest.mark.parametrize(("name", "prefix"), list(zip(NAMES, cycle(("", PREFIX)), strict=False)))
def test_step_with_any_name_is_found_by_its_path(
    api: httpx.Client, running_execution: str, name: str, prefix: str
) -> None:
    path = f"{prefix}/executions/{running_execution}/steps/{quote(name, safe='')}"
    server = api.base_url.copy_with(path="/")
    ok(api.post(server.join(f"{path}/start"), json={"input": {"lead": 42}}))
    done = ok(api.post(server.join(f"{path}/complete"), json={"output": {"emails": 2}}))
    assert [(step["id"], step["status"]) for step in done["steps"]] == [(name, "completed")]
    assert ok(api.get(server.join(path)))["id"] == name


@pytest.mark.parametrize("command", ["start", "complete", "fail", "skip"])
def test_body_that_names_another_step_than_the_path_is_refused(
    api: httpx.Client, running_execution: str, command: str
) -> None:
    path = f"/executions/{running_execution}/steps/a"
    ok(api.post(f"{path}/start", json={"step": "a"}))
    body = {"code": "X", "message": "Y"} if command == "fail" else {}
    for other in ("b", ""):
        problem = refused(
            api.post(f"{path}/{command}", json=body | {"step": other}), 422, "invalid"
        )
        assert [error["path"] for error in problem["errors"]] == ["step"]
    assert ok(api.get(path))["status"] == "running"
    ok(api.post(f"{path}/{command}", json=body | {"step": "a"}))


@pytest.mark.parametrize("escape", ["%2F", "%2f"])
def test_encoded_slash_is_not_a_path_separator(
    api: httpx.Client, queued_execution: str, escape: str
) -> None:
    problem = refused(
        api.post(f"/executions/{queued_execution}{escape}start"), 405, "method-not-allowed"
    )
    assert problem["instance"] == f"/api/executions/{queued_execution}{escape}start"
    assert ok(api.get(f"/executions/{queued_execution}"))["status"] == "queued"
    refused(api.get(f"/executions{escape}{queued_execution}"), 404, "not-found")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/a%20b", "/a b"),
        (b"/a%2Fb", "/a%2Fb"),
        (b"/a%252Fb", "/a%252Fb"),
        (b"/%25", "/%25"),
        (b"/100%", "/100%"),
        (b"/%c3%bc", "/ü"),
        (b"/%ff", "/\ufffd"),
    ],
)
def test_only_slashes_and_percent_signs_are_not_decoded(raw: bytes, path: str) -> None:
    assert decode_path(raw) == path
